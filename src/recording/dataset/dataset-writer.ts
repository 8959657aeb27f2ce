import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import sharp from 'sharp'
import type { ObservationImage } from '../../contract/observation.js'
import { TurboPiError } from '../../errors.js'
import type { PolicyNote } from '../handover.js'
import type { Episode, Frame } from './episodes.js'
import { type CameraFeature, cameraFeatures, featureTable } from './features.js'
import { column, writeParquet } from './parquet.js'
import { PictureStatistics, statisticsOf } from './statistics.js'

const DATA_PATH = 'data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet'
const FILES_OF_CHUNK = 1000
/** Bytes of pictures after which a file of frames is written; one episode more may be in it. */
const FILE_BYTES = 100 * 2 ** 20
/** Pictures of a camera that its statistics are made of. */
const MOST_PICTURES = 500

interface Row {
  state: number[]
  frame: Frame
  images: Uint8Array[]
  index: number
  frameIndex: number
  episode: number
  task: number
  done: boolean
  success: boolean
}

interface EpisodeRow {
  task: string
  length: number
  from: number
  file: number
}

const placeOf = (file: number) => ({ chunk: Math.floor(file / FILES_OF_CHUNK), file: file % FILES_OF_CHUNK })
const three = (number: number) => String(number).padStart(3, '0')

/** Writes episodes as a LeRobotDataset of format v3.0, pictures within the files of frames. */
export class DatasetWriter {
  readonly #directory: string
  readonly #note: PolicyNote
  readonly #fps: number
  readonly #cameras: CameraFeature[]
  readonly #shapes = new Map<string, readonly [height: number, width: number]>()
  readonly #pictures: PictureStatistics[]
  readonly #tasks: string[] = []
  readonly #episodes: EpisodeRow[] = []
  readonly #states: number[][] = []
  readonly #actions: (readonly number[])[] = []
  #rows: Row[] = []
  #bytes = 0
  #files = 0

  /** Throws CONFIG_INVALID for a directory that holds something. `cameras`: of the policy's those that were recorded. */
  constructor(directory: string, note: PolicyNote, fps: number, cameras: ReadonlySet<string>) {
    if (existsSync(directory) && readdirSync(directory).length > 0)
      throw new TurboPiError(
        'CONFIG_INVALID',
        `${directory} holds something already: name a new folder with --to.`,
      )
    this.#directory = directory
    this.#note = note
    this.#fps = fps
    this.#cameras = cameraFeatures(note).filter(({ key }) => cameras.has(key))
    this.#pictures = this.#cameras.map(() => new PictureStatistics())
  }

  get frames(): number {
    return this.#states.length
  }

  async add({ frames, task, success }: Episode): Promise<void> {
    const episode = this.#episodes.length
    const from = this.frames
    for (const [frameIndex, frame] of frames.entries()) {
      const { observation } = frame.recorded
      const images: Uint8Array[] = []
      for (const [at, camera] of this.#cameras.entries())
        images.push(await this.#picture(at, camera, observation.images[camera.key], frame))
      const state = this.#note.observation.state.flatMap(({ key }) => [...observation.state[key]!])
      const done = frameIndex === frames.length - 1
      const index = this.frames
      this.#rows.push({
        state,
        frame,
        images,
        index,
        frameIndex,
        episode,
        task: this.#task(task),
        done,
        success: done && success === true,
      })
      this.#states.push(state)
      this.#actions.push(frame.action)
      this.#bytes += images.reduce((sum, { length }) => sum + length, 0)
    }
    this.#episodes.push({ task, length: frames.length, from, file: this.#files })
    if (this.#bytes >= FILE_BYTES) this.#flush()
  }

  /** Writes what is left, and what tells of it all. Throws RECORDING_INVALID when there was nothing. */
  end(): void {
    if (this.#rows.length > 0) this.#flush()
    if (this.frames === 0)
      throw new TurboPiError('RECORDING_INVALID', 'The recordings hold no observation to export.')
    this.#write('meta/tasks.parquet', path =>
      writeParquet(
        path,
        [
          column.int64(
            'task_index',
            this.#tasks.map((_, at) => at),
          ),
          column.text('task', this.#tasks),
        ],
        TASKS_IN_PANDAS,
      ),
    )
    this.#write('meta/episodes/chunk-000/file-000.parquet', path =>
      writeParquet(path, this.#episodeColumns()),
    )
    this.#json('meta/info.json', {
      codebase_version: 'v3.0',
      robot_type: this.#note.observation.embodiment,
      total_episodes: this.#episodes.length,
      total_frames: this.frames,
      total_tasks: this.#tasks.length,
      chunks_size: FILES_OF_CHUNK,
      data_files_size_in_mb: FILE_BYTES / 2 ** 20,
      video_files_size_in_mb: 200,
      fps: this.#fps,
      splits: { train: `0:${this.#episodes.length}` },
      data_path: DATA_PATH,
      video_path: null,
      features: featureTable(this.#note, this.#shapes),
    })
    this.#json('meta/stats.json', {
      'observation.state': statisticsOf(this.#states),
      action: statisticsOf(this.#actions),
      ...Object.fromEntries(this.#cameras.map(({ feature }, at) => [feature, this.#pictures[at]!.told])),
    })
  }

  #flush(): void {
    const rows = this.#rows
    const { chunk, file } = placeOf(this.#files)
    const of = (numbers: (row: Row) => number) => rows.map(numbers)
    this.#write(`data/chunk-${three(chunk)}/file-${three(file)}.parquet`, path =>
      writeParquet(path, [
        ...this.#cameras.map(({ feature }, at) =>
          column.images(
            feature,
            rows.map(({ images }) => images[at]!),
          ),
        ),
        column.floats(
          'observation.state',
          rows.map(({ state }) => state),
        ),
        column.floats(
          'action',
          rows.map(({ frame }) => frame.action),
        ),
        column.bool(
          'intervention',
          rows.map(({ frame }) => frame.intervention),
        ),
        column.bool(
          'next.done',
          rows.map(({ done }) => done),
        ),
        column.bool(
          'next.success',
          rows.map(({ success }) => success),
        ),
        column.float(
          'timestamp',
          of(({ frameIndex }) => frameIndex / this.#fps),
        ),
        column.int64(
          'frame_index',
          of(({ frameIndex }) => frameIndex),
        ),
        column.int64(
          'episode_index',
          of(({ episode }) => episode),
        ),
        column.int64(
          'index',
          of(({ index }) => index),
        ),
        column.int64(
          'task_index',
          of(({ task }) => task),
        ),
      ]),
    )
    this.#rows = []
    this.#bytes = 0
    this.#files += 1
  }

  #episodeColumns() {
    const of = (numbers: (row: EpisodeRow, at: number) => number) => this.#episodes.map(numbers)
    return [
      column.int64(
        'episode_index',
        of((_, at) => at),
      ),
      column.texts(
        'tasks',
        this.#episodes.map(({ task }) => [task]),
      ),
      column.int64(
        'length',
        of(({ length }) => length),
      ),
      column.int64(
        'data/chunk_index',
        of(({ file }) => placeOf(file).chunk),
      ),
      column.int64(
        'data/file_index',
        of(({ file }) => placeOf(file).file),
      ),
      column.int64(
        'dataset_from_index',
        of(({ from }) => from),
      ),
      column.int64(
        'dataset_to_index',
        of(({ from, length }) => from + length),
      ),
      column.int64(
        'meta/episodes/chunk_index',
        of(() => 0),
      ),
      column.int64(
        'meta/episodes/file_index',
        of(() => 0),
      ),
    ]
  }

  /** A picture as a file; arrays become PNG, which loses nothing. */
  async #picture(
    at: number,
    { key, feature }: CameraFeature,
    image: ObservationImage | undefined,
    { recorded }: Frame,
  ): Promise<Uint8Array> {
    if (!image || image.kind === 'floats')
      throw new TurboPiError(
        'RECORDING_INVALID',
        `Observation ${recorded.id} has no camera ${key}, which others have: export it apart, or leave cameras out with --no-cameras.`,
      )
    const [height = 0, width = 0] = image.kind === 'array' ? image.shape : []
    const picture =
      image.kind === 'encoded'
        ? sharp(image.bytes)
        : sharp(image.data, { raw: { width, height, channels: 3 } })
    const size = image.kind === 'encoded' ? await picture.metadata() : { width, height }
    const known = this.#shapes.get(feature)
    if (known && (known[0] !== size.height || known[1] !== size.width))
      throw new TurboPiError(
        'RECORDING_INVALID',
        `Camera ${key} has pictures of ${known[1]} × ${known[0]}, and of ${size.width} × ${size.height} in observation ${recorded.id}: a dataset takes one size.`,
      )
    this.#shapes.set(feature, [size.height, size.width])
    const statistics = this.#pictures[at]!
    if (statistics.pictures < MOST_PICTURES)
      statistics.add(await picture.clone().removeAlpha().toColourspace('srgb').raw().toBuffer())
    return image.kind === 'encoded' ? image.bytes : picture.png({ compressionLevel: 3 }).toBuffer()
  }

  #task(task: string): number {
    const known = this.#tasks.indexOf(task)
    return known >= 0 ? known : this.#tasks.push(task) - 1
  }

  #json(path: string, content: object): void {
    this.#write(path, file => writeFileSync(file, JSON.stringify(content, null, 4)))
  }

  #write(path: string, write: (file: string) => void): void {
    const file = join(this.#directory, path)
    mkdirSync(dirname(file), { recursive: true })
    write(file)
  }
}

/** LeRobot looks tasks up by the index of a pandas table. */
const TASKS_IN_PANDAS = {
  index_columns: ['task'],
  column_indexes: [
    {
      name: null,
      field_name: null,
      pandas_type: 'unicode',
      numpy_type: 'object',
      metadata: { encoding: 'UTF-8' },
    },
  ],
  columns: [
    {
      name: 'task_index',
      field_name: 'task_index',
      pandas_type: 'int64',
      numpy_type: 'int64',
      metadata: null,
    },
    { name: 'task', field_name: 'task', pandas_type: 'unicode', numpy_type: 'object', metadata: null },
  ],
  pandas_version: '2.2.3',
}
