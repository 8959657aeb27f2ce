// All of Spectral's rules for OpenAPI; test/server/openapi-lint.test.ts runs them on what servers show.
import { oas } from '@stoplight/spectral-rulesets'

export default {
  extends: [[oas, 'all']],
  rules: {
    // OpenAPI 3.1 takes an identifier of SPDX in its place, and not both.
    'license-url': 'off',
    // The project is reached by its issues; it has no address for mail.
    'contact-properties': 'off',
  },
}
