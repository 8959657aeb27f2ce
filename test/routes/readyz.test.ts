import t from 'tap'
import { SETTINGS } from '../../src/config.js'
import type { Runtime } from '../../src/runtime/runtime.js'
import { createServer } from '../../src/server/standalone.js'
import { Served } from '../../src/service/served.js'
import { PolicyService } from '../../src/service/service.js'
import { StartProgress } from '../../src/service/start-progress.js'
import type { Stage } from '../../src/storage/stage.js'
import { fakePolicy } from '../support/fake-policy.js'
import { FakeRuntime, finishAll } from '../support/fake-runtime.js'

t.test(
  '/readyz names the stage of the start, and how much of it is done, until the engine is warm',
  async t => {
    const runtime = new FakeRuntime()
    const progress = new StartProgress()
    let loaded = (_: Runtime) => {}
    const loading = new Promise<Runtime>(resolve => {
      loaded = resolve
    })
    const service = new PolicyService({ policy: fakePolicy(), runtime: loading, progress })
    const app = await createServer([new Served(service)], {
      apiKey: undefined,
      bodyLimit: SETTINGS.bodyLimit.default,
    })
    t.teardown(() => app.close())
    const readyz = async () => {
      const { statusCode, headers, json } = await app.inject('/readyz')
      return { statusCode, contentType: headers['content-type'], ...json<object>() }
    }
    const starting = service.start()
    const stages: [Stage, object, RegExp][] = [
      [
        { name: 'reading the checkpoint' },
        { stage: 'reading the checkpoint', percent: undefined },
        /reading the checkpoint\. Ask again/,
      ],
      [
        { name: 'lowering the weights', done: 1, total: 3 },
        { stage: 'lowering the weights', percent: 33 },
        /lowering the weights, 33 %/,
      ],
      [
        { name: 'building the engines', detail: 'vision: Tactics', done: 3, total: 4 },
        { stage: 'building the engines, vision: Tactics', percent: 75 },
        /vision: Tactics, 75 %/,
      ],
    ]
    for (const [stage, told, detail] of stages) {
      progress.report(stage)
      t.match(await readyz(), {
        statusCode: 503,
        contentType: /problem\+json/,
        code: 'NOT_READY',
        detail,
        ...told,
      })
    }
    loaded(runtime)
    await finishAll(runtime)
    await starting
    t.same(await readyz(), {
      statusCode: 200,
      contentType: 'application/json; charset=utf-8',
      status: 'ready',
    })
    const closed = service.close()
    t.match(await readyz(), { statusCode: 503, detail: /stopping/, stage: undefined, percent: undefined })
    await closed
    t.equal(await service.metrics.errors(), 0, 'who only asks whether it is ready was refused nothing')
  },
)
