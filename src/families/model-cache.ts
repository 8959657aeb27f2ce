import { existsSync, readdirSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { reasonOf } from '../errors.js'
import { underLock, writeDirectory } from '../storage/cache.js'
import type { Content, ReadContent } from '../storage/content.js'
import { damageIn } from '../storage/digest.js'
import { ContentReading, recall } from '../storage/known-content.js'
import type { OnStage } from '../storage/stage.js'
import {
  keyOf,
  type LoweredModel,
  type ModelSource,
  readModel,
  recipeOf,
  writeModel,
} from './lowered-model.js'
import { Checkpoint } from './pi0/checkpoint.js'

/** A lowered model in the cache, its files checked. */
export interface CachedModel {
  directory: string
  model: LoweredModel
}

export interface ModelCacheOptions {
  /** Hears what is being done, with bytes done and in all; may throw to give up. */
  onStage?: OnStage
  /** Hears, in sentences, that an entry was damaged and is written again. */
  onNotice?: (text: string) => void
  /** Called now and then; may throw to give up. */
  checkpoint?: () => void
}

/**
 * The lowered model of a checkpoint: the one in the cache when it is whole, else one that is lowered into it now. The
 * weights are read no more than they must be: not at all where their content is known and lowered; once where it is not
 * known, or not lowered. Of several processes one lowers and the others wait. Blocks its thread while it lowers.
 * Throws CACHE_FAILED, CHECKPOINT_INVALID, or what `checkpoint` throws.
 */
export function modelFromCache(
  source: ModelSource,
  cache: string,
  options: ModelCacheOptions = {},
): Promise<CachedModel> {
  return new ModelCache(source, join(cache, 'models'), cache, options).get()
}

class ModelCache {
  private readonly recipe: string
  private readonly content: Content
  /** Directories that are no whole model, and why. */
  private readonly damaged = new Map<string, string>()

  constructor(
    private readonly source: ModelSource,
    private readonly models: string,
    private readonly cache: string,
    private readonly options: ModelCacheOptions,
  ) {
    const checkpoint = Checkpoint.open(source.weightsPath, source.config, source.adapterPath)
    try {
      this.recipe = recipeOf(source, checkpoint)
      this.content = checkpoint.content()
    } finally {
      checkpoint.close()
    }
  }

  get(): Promise<CachedModel> {
    const { checkpoint = () => {} } = this.options
    const name = join(this.models, this.recipe)
    return underLock(
      name,
      () => this.find(),
      checkpoint,
      alive => this.make(name, alive),
    )
  }

  /** Without reading the checkpoint. */
  private async find(): Promise<CachedModel | undefined> {
    const known = recall(this.cache, this.content)
    return known && this.open(this.directoryOf(known))
  }

  private directoryOf(content: ReadContent): string {
    return join(this.models, keyOf(this.recipe, content))
  }

  /** The model in a directory, when it is whole. */
  private async open(directory: string): Promise<CachedModel | undefined> {
    if (!existsSync(directory)) return undefined
    const { checkpoint, onStage } = this.options
    const onPiece = (done: number, total: number) => {
      checkpoint?.()
      onStage?.({ name: 'checking the lowered weights', done, total, bytes: true })
    }
    try {
      const model = readModel(directory)
      const damage =
        model.key === basename(directory)
          ? await damageIn(directory, model.files, onPiece)
          : 'model.json belongs to another entry'
      if (damage === undefined) return { directory, model }
      this.damaged.set(directory, damage)
    } catch (error) {
      checkpoint?.()
      this.damaged.set(directory, reasonOf(error))
    }
    return undefined
  }

  /** Reads the checkpoint: until its content is known where it may have been lowered before, else while it is lowered. */
  private async make(name: string, alive: () => void): Promise<CachedModel> {
    const known = recall(this.cache, this.content)
    const candidates = new Candidates(known ? [] : this.lowered())
    this.options.onStage?.({ name: 'reading the checkpoint' })
    const reading = new ContentReading(this.content, known, (...piece) => {
      alive()
      this.options.checkpoint?.()
      candidates.compare(...piece)
    })
    try {
      const read = await Promise.race([candidates.excluded, reading.end()])
      const found = read && (await this.open(this.directoryOf(read)))
      const made = found ?? (await this.lower(name, alive, reading))
      this.remember(reading, made.model.content)
      return made
    } finally {
      reading.stop()
    }
  }

  private remember(reading: ContentReading, content: ReadContent): void {
    try {
      reading.remember(this.cache, content)
    } catch (error) {
      this.options.onNotice?.(
        `what ${this.source.weightsPath} holds could not be noted in the cache, and is read again at each start: ${reasonOf(error)}`,
      )
    }
  }

  /** Contents that were lowered by this recipe. */
  private lowered(): ReadContent[] {
    return readdirSync(this.models).flatMap(entry => {
      try {
        const { recipe, content } = readModel(join(this.models, entry))
        return recipe === this.recipe ? [content] : []
      } catch {
        return []
      }
    })
  }

  private async lower(name: string, alive: () => void, reading: ContentReading): Promise<CachedModel> {
    const { source, options } = this
    this.removeDamaged()
    let model: LoweredModel | undefined
    const directory = await writeDirectory(name, alive, async draft => {
      model = await writeModel(
        source,
        draft.directory,
        () => reading.end(),
        (done, total) => {
          alive()
          options.onStage?.({ name: 'lowering the weights', done, total, bytes: true })
        },
      )
      const final = join(this.models, model.key)
      if (!(await this.open(final))) this.removeDamaged()
      return final
    })
    return { directory, model: model! }
  }

  private removeDamaged(): void {
    for (const [directory, reason] of this.damaged) {
      this.options.onNotice?.(
        `the cached model ${directory} is damaged: ${reason}. It is removed, and the checkpoint is lowered again.`,
      )
      rmSync(directory, { recursive: true, force: true })
    }
    this.damaged.clear()
  }
}

/** Contents that the one being read may be equal to, until a piece differs. */
class Candidates {
  /** Resolves when none is left. */
  readonly excluded: Promise<undefined>
  private exclude!: (nothing: undefined) => void

  constructor(private left: readonly ReadContent[]) {
    this.excluded = new Promise(resolve => {
      this.exclude = resolve
    })
    this.check()
  }

  compare(file: number, piece: number, digest: string): void {
    this.left = this.left.filter(({ files }) => files[file]?.pieces[piece] === digest)
    this.check()
  }

  private check(): void {
    if (this.left.length === 0) this.exclude(undefined)
  }
}
