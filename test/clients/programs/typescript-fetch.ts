import { ActionChunkToJSON, Configuration, InferenceApi, ObservationFromJSON } from './index'

const [, , url = '', key = '', example = ''] = process.argv

async function main(): Promise<void> {
  const api = new InferenceApi(new Configuration({ basePath: url, apiKey: `Api-Key ${key}` }))
  const { shape } = await api.metadata()
  const observation = ObservationFromJSON(JSON.parse(example))
  const chunk = await api.infer({
    observation: { ...observation, options: { seed: 4294967295, numSteps: 2 } },
  })
  const { seed } = ActionChunkToJSON(chunk)
  if (seed !== 4294967295) throw new Error(`seed ${seed}`)
  const [row] = chunk.actions
  if (chunk.actions.length !== shape.horizon || row?.length !== shape.actionSize) throw new Error('shape')
  console.log(`${chunk.actions.length} × ${row.length} actions`)
}

main().catch((error: unknown) => {
  console.error(error)
  process.exitCode = 1
})
