import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Config } from '../../config.js'
import type { SeenSessions } from '../../contract/page.js'
import { TurboPiError } from '../../errors.js'
import type { Served } from '../../service/served.js'
import type { Robots } from '../robots.js'
import { upgradeRequired } from '../sockets/upgrade.js'
import { fleetOf } from './fleet.js'
import { SessionWatch } from './session-watch.js'
import { totalsOf } from './totals.js'

/** What `npm run build` wrote; the same folder seen from src/routes and from dist/routes. */
const BUILT = new URL('../../../dist/', import.meta.url)
/** The files of it that a browser may have: they keep their places, so that their imports hold. */
const FILE =
  /^(?:page\/[\w-]+\.(?:js|css|svg)|(?:tabletop|client(?:\/core|\/transport)?)\/[\w-]+\.js|contract\/(?:limits|numpy|ndarray)\.js|errors\.js)$/
const UPLOT: Record<string, string> = {
  'uplot.js': 'uplot/dist/uPlot.esm.js',
  'uplot.css': 'uplot/dist/uPlot.min.css',
}
const TYPES: Record<string, string> = {
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
}

const { resolve } = createRequire(import.meta.url)

/** GET / for a browser: the page to watch. Without `Accept: text/html` it is the address of openpi's WebSocket. */
export async function homePage(request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  if (!request.headers.accept?.includes('text/html')) return upgradeRequired(request, reply)
  const [path = ''] = request.originalUrl.split('?')
  // Its links are relative.
  if (!path.endsWith('/')) return reply.redirect(`${path}/`)
  const html = await built('page/index.html')
  return guarded(reply, inlineScripts(html.toString())).type('text/html; charset=utf-8').send(html)
}

/** What the page loads: its modules, the client and the tabletop that they run, and the sessions that it shows. */
export function pageRoutes(
  app: FastifyInstance,
  policies: readonly Served[],
  robots: Robots,
  { watchSessions }: Partial<Pick<Config, 'watchSessions'>>,
): void {
  const watches = watchSessions ? policies.map(served => new SessionWatch(served, policies.length > 1)) : []

  app.get<{ Params: { '*': string } }>(
    '/page/*',
    { config: { open: true }, schema: { hide: true } },
    async (request, reply) => {
      const file = request.params['*']
      const library = Object.hasOwn(UPLOT, file) ? UPLOT[file] : undefined
      if (!library && !FILE.test(file)) throw notFound(request)
      const content = library ? await readFile(resolve(library)) : await built(file)
      return guarded(reply)
        .type(TYPES[file.slice(file.lastIndexOf('.') + 1)]!)
        .send(content)
    },
  )

  app.get('/page/figures', { schema: { hide: true } }, async (_request, reply) =>
    guarded(reply).send(totalsOf(policies)),
  )

  app.get('/page/fleet', { schema: { hide: true } }, async (_request, reply) =>
    guarded(reply).send(fleetOf(robots, policies)),
  )

  app.get('/page/sessions', { schema: { hide: true } }, async (_request, reply) =>
    guarded(reply).send({
      watching: watches.length > 0,
      sessions: watches.flatMap(watch => watch.sessions()).sort((a, b) => a.age_ms - b.age_ms),
    } satisfies SeenSessions),
  )

  for (const view of ['sent', 'seen'] as const)
    app.get<{ Params: { session: string; camera: string } }>(
      `/page/sessions/:session/:camera/${view}`,
      { schema: { hide: true } },
      async (request, reply) => {
        const { session, camera } = request.params
        const image = await watches.find(watch => watch.has(session))?.image(session, camera, view)
        if (!image) throw notFound(request)
        return guarded(reply).type(image.type).send(image.bytes)
      },
    )
}

async function built(file: string): Promise<Buffer> {
  try {
    return await readFile(new URL(file, BUILT))
  } catch (error) {
    throw new TurboPiError('NOT_FOUND', `dist/${file} is missing: npm run build writes the page.`, {
      cause: error,
    })
  }
}

const notFound = (request: FastifyRequest) => new TurboPiError('NOT_FOUND', `There is no GET ${request.url}.`)

/** Nothing from elsewhere is loaded or run, and nobody frames the page. The rest is what every reply says. */
function guarded(reply: FastifyReply, scripts = ''): FastifyReply {
  return reply
    .header(
      'content-security-policy',
      `default-src 'none'; script-src 'self'${scripts}; style-src 'self'; img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    )
    .header('cross-origin-resource-policy', 'same-origin')
    .header('cache-control', 'no-cache')
}

/** The digests that allow a document's own inline scripts: its import map. */
function inlineScripts(html: string): string {
  return Array.from(
    html.matchAll(/<script(?![^>]*\bsrc=)[^>]*>([\s\S]*?)<\/script>/g),
    ([, script = '']) => ` 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
  ).join('')
}
