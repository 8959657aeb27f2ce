import { byId } from './dom.js'
import { post, problemOf } from './server.js'

let asking: Promise<void> | undefined

/** Asks for the server's API key until it is the right one; the server then gives a cookie that stands for it. */
export function askForKey(): Promise<void> {
  asking ??= askUntilTaken().finally(() => {
    asking = undefined
  })
  return asking
}

async function askUntilTaken(): Promise<void> {
  const form = byId('key-form', HTMLFormElement)
  const input = byId('key', HTMLInputElement)
  const refused = byId('key-refused', HTMLElement)
  form.hidden = false
  input.focus()
  for (let taken = false; !taken; ) {
    await submitted(form)
    const response = await post('page/session', { key: input.value })
    taken = response?.ok ?? false
    refused.textContent = taken
      ? ''
      : response?.status === 401
        ? 'The server does not know this key.'
        : await problemOf(response)
    input.setAttribute('aria-invalid', String(response?.status === 401))
    if (!taken) input.select()
  }
  input.value = ''
  form.hidden = true
}

const submitted = (form: HTMLFormElement) =>
  new Promise<void>(resolve => {
    form.addEventListener(
      'submit',
      event => {
        event.preventDefault()
        resolve()
      },
      { once: true },
    )
  })
