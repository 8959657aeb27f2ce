import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Test } from 'tap'
import type { PolicyOptions } from '../../src/policy/loading/openpi.js'
import {
  editJson,
  editTensors,
  float32,
  lerobotCheckpoint,
  openpiCheckpoint,
  scratch,
  writeJson,
  writeTensors,
} from './checkpoint.js'

type Owner = Pick<Test, 'teardown'>

/** A directory as people give it. */
export interface Given {
  /** In the words of the page docs/reference/doctor.md. */
  what: string
  make(t: Owner): string
  options?: PolicyOptions
  /** The check that refuses it first, and the line that says what it is; both absent for one that is served. */
  check?: string
  says?: RegExp
  /** The line that says what to do. */
  todo?: RegExp
}

const LIBERO: PolicyOptions = { config: 'pi05_libero' }
const POINTER =
  'version https://git-lfs.github.com/spec/v1\noid sha256:9b0b1d8a0b1f7f0c1d2e3f405162738495a6b7c8d9eaf0b1c2d3e4f506172839\nsize 7473096344\n'
const PAGE = '<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n'
const SAFETENSORS = 'model.safetensors'
const NORMALISER = 'policy_preprocessor_step_3_normalizer_processor.safetensors'

const changed =
  (change: (directory: string) => void, checkpoint: (t: Owner) => string = openpiCheckpoint) =>
  (t: Owner) => {
    const directory = checkpoint(t)
    change(directory)
    return directory
  }
const written = (file: string, content: string | Buffer, checkpoint?: (t: Owner) => string) =>
  changed(directory => writeFileSync(join(directory, file), content), checkpoint)
/** A checkpoint some folders below the directory that is given. */
const below =
  (path: string, checkpoint: (t: Owner) => string = openpiCheckpoint) =>
  (t: Owner) => {
    const directory = scratch(t)
    mkdirSync(join(directory, path, '..'), { recursive: true })
    cpSync(checkpoint(t), join(directory, path), { recursive: true })
    return directory
  }
const zeroed = (from: number) =>
  changed(directory => {
    const path = join(directory, SAFETENSORS)
    const bytes = readFileSync(path)
    const start = 8 + Number(bytes.readBigUInt64LE(0))
    bytes.fill(0, start + Math.floor(((bytes.length - start) * from) / 4) * 4)
    writeFileSync(path, bytes)
  })
const prefixed = (prefix: string) =>
  changed(directory =>
    editTensors(join(directory, SAFETENSORS), tensors => {
      for (const [name, tensor] of [...tensors]) {
        tensors.delete(name)
        tensors.set(prefix + name, tensor)
      }
    }),
  )
const manifest = (fields: object) => (t: Owner) => {
  const directory = openpiCheckpoint(t)
  writeJson(join(directory, 'policy.json'), {
    format: 'turbo-pi.policy/1',
    name: 'given',
    config: 'pi05_libero',
    ...fields,
  })
  return directory
}
const lerobotProcessors = (change: (directory: string, file: string) => void) =>
  changed(directory => {
    for (const name of ['policy_preprocessor.json', 'policy_postprocessor.json']) change(directory, name)
  }, lerobotCheckpoint)

export const GIVEN: readonly Given[] = [
  {
    what: 'weights that are a Git LFS pointer',
    make: written(SAFETENSORS, POINTER),
    options: LIBERO,
    check: 'weights',
    says: /model\.safetensors: is a Git LFS pointer/,
    todo: /git lfs pull/,
  },
  {
    what: 'a tokenizer that is a Git LFS pointer',
    make: written('tokenizer.model', POINTER),
    options: LIBERO,
    check: 'tokenizer',
    says: /tokenizer\.model: is a Git LFS pointer/,
    todo: /git lfs pull/,
  },
  {
    what: 'a processor’s state that is a Git LFS pointer',
    make: written(NORMALISER, POINTER, lerobotCheckpoint),
    check: 'norm stats',
    says: /normalizer_processor\.safetensors: is a Git LFS pointer/,
    todo: /git lfs pull/,
  },
  {
    what: 'weights that are a sign-in page',
    make: written(SAFETENSORS, PAGE),
    options: LIBERO,
    check: 'weights',
    says: /model\.safetensors: is a web page \(HTML/,
    todo: /Sign in .*download the file again/,
  },
  {
    what: 'a config.json that is a sign-in page',
    make: written('config.json', PAGE),
    options: LIBERO,
    check: 'directory',
    says: /config\.json: is a web page \(HTML/,
    todo: /Sign in .*download the file again/,
  },
  {
    what: 'weights compressed with gzip',
    make: changed(directory => {
      const path = join(directory, SAFETENSORS)
      writeFileSync(path, gzipSync(readFileSync(path), { level: 1 }))
    }),
    options: LIBERO,
    check: 'weights',
    says: /is compressed with gzip/,
    todo: /gunzip/,
  },
  {
    what: 'weights of torch.save under the name of safetensors',
    make: written(SAFETENSORS, Buffer.from('504b030400000808', 'hex')),
    options: LIBERO,
    check: 'weights',
    says: /is a zip archive, as torch\.save writes it/,
    todo: /safetensors\.torch\.save_file/,
  },
  {
    what: 'weights whose download was not finished',
    make: changed(directory => {
      renameSync(join(directory, SAFETENSORS), join(directory, `${SAFETENSORS}.incomplete`))
      truncateSync(join(directory, `${SAFETENSORS}.incomplete`), 1_000_000)
    }),
    options: LIBERO,
    check: 'directory',
    says: /holds model\.safetensors\.incomplete, an unfinished download/,
    todo: /Run the download again/,
  },
  {
    what: 'the same, in the folder where Hugging Face’s client keeps it',
    make: changed(directory => {
      rmSync(join(directory, SAFETENSORS))
      const cache = join(directory, '.cache/huggingface/download')
      mkdirSync(cache, { recursive: true })
      writeFileSync(join(cache, 'x.incomplete'), '')
    }),
    options: LIBERO,
    check: 'directory',
    says: /holds \.cache\/huggingface\/download\/x\.incomplete, an unfinished download/,
    todo: /Run the download again/,
  },
  {
    what: 'PyTorch pickles',
    make: changed(directory => {
      rmSync(join(directory, SAFETENSORS))
      writeFileSync(join(directory, 'pytorch_model.bin'), Buffer.from('504b0304', 'hex'))
    }),
    options: LIBERO,
    check: 'directory',
    says: /no weights but pytorch_model\.bin, a PyTorch pickle/,
    todo: /Save the weights as model\.safetensors/,
  },
  {
    what: 'a PEFT adapter without its base',
    make: t => {
      const directory = scratch(t)
      writeJson(join(directory, 'adapter_config.json'), {
        peft_type: 'LORA',
        base_model_name_or_path: 'lerobot/pi05_base',
        r: 2,
        lora_alpha: 2,
      })
      const factor = float32([1, 1, 1, 1], [2, 2])
      writeTensors(
        join(directory, 'adapter_model.safetensors'),
        new Map([['base_model.model.model.action_in_proj.lora_A.weight', factor]]),
      )
      return directory
    },
    check: 'directory',
    says: /is a PEFT adapter \(LoRA\) alone.*lerobot\/pi05_base/,
    todo: /doctor BASE --adapter/,
  },
  {
    what: 'the folder above a step of openpi’s training',
    make: below('29999'),
    options: LIBERO,
    check: 'directory',
    says: /is not a policy itself/,
    todo: /Did you mean .*\/29999\?/,
  },
  {
    what: 'the output folder of LeRobot’s training',
    make: below('checkpoints/last/pretrained_model', lerobotCheckpoint),
    check: 'directory',
    says: /is not a policy itself/,
    todo: /Did you mean .*\/checkpoints\/last\/pretrained_model\?/,
  },
  {
    what: 'a repository’s folder in Hugging Face’s cache',
    make: below('snapshots/0123456789abcdef0123456789abcdef01234567', lerobotCheckpoint),
    check: 'directory',
    says: /is not a policy itself/,
    todo: /Did you mean .*\/snapshots\/0123456789abcdef0123456789abcdef01234567\?/,
  },
  {
    what: 'a folder inside a checkpoint',
    make: t => join(openpiCheckpoint(t), 'assets', 'physical-intelligence'),
    options: LIBERO,
    check: 'directory',
    says: /is a part of a policy, not the whole/,
    todo: /Did you mean /,
  },
  {
    what: 'a file of a checkpoint',
    make: t => join(openpiCheckpoint(t), SAFETENSORS),
    options: LIBERO,
    check: 'directory',
    says: /is not a directory but a file of one/,
    todo: /Did you mean /,
  },
  {
    what: 'statistics under another asset id',
    make: changed(directory => {
      mkdirSync(join(directory, 'assets/me'))
      renameSync(
        join(directory, 'assets/physical-intelligence/libero'),
        join(directory, 'assets/me/my_libero'),
      )
    }),
    options: LIBERO,
    check: 'config',
    says: /no normalisation statistics .* It has assets\/me\/my_libero\/norm_stats\.json/,
    todo: /--norm-stats .*assets\/me\/my_libero\/norm_stats\.json/,
  },
  {
    what: 'a JAX checkpoint of empty files',
    make: t => {
      const directory = openpiCheckpoint(t)
      for (const name of ['config.json', SAFETENSORS]) rmSync(join(directory, name))
      mkdirSync(join(directory, 'params'))
      for (const name of ['params/_METADATA', 'params/manifest.ocdbt', '_CHECKPOINT_METADATA'])
        writeFileSync(join(directory, name), '')
      return directory
    },
    options: LIBERO,
    check: 'weights',
    says: /params\/_METADATA: is not JSON .*cut short or damaged, copy it again/,
  },
  {
    what: 'statistics that the converter left out',
    make: changed(directory => rmSync(join(directory, 'assets'), { recursive: true })),
    options: LIBERO,
    check: 'config',
    says: /has no normalisation statistics/,
    todo: /give the original checkpoint's norm_stats\.json with --norm-stats/,
  },
  {
    what: 'what openpi’s train_pytorch.py writes, without config.json',
    make: changed(directory => rmSync(join(directory, 'config.json'))),
    options: LIBERO,
  },
  ...['module.', '_orig_mod.'].map(prefix => ({
    what: `names that begin with \`${prefix}\``,
    make: prefixed(prefix),
    options: LIBERO,
    check: 'model config',
    says: new RegExp(`every tensor's name begins with "${prefix}"`),
    todo: /take ".*" off the names/,
  })),
  {
    what: 'a misspelt preset',
    make: openpiCheckpoint,
    options: { config: 'pi05_libro' },
    check: 'config',
    says: /no config "pi05_libro"; did you mean pi05_libero\?/,
    todo: /this checkpoint may be of pi05_libero\. /,
  },
  {
    what: 'no preset',
    make: openpiCheckpoint,
    check: 'config',
    says: /does not say how it was trained/,
    todo: /may be of pi05_libero\.$/,
  },
  {
    what: 'another robot’s preset',
    make: openpiCheckpoint,
    options: { config: 'pi05_droid' },
    check: 'config',
    says: /It has assets\/physical-intelligence\/libero\/norm_stats\.json/,
    todo: /--config pi05_libero\.$/,
  },
  {
    what: 'weights of zeros',
    make: zeroed(0),
    options: LIBERO,
    check: 'weight values',
    says: /is zero in /,
  },
  {
    what: 'weights of which the second half is zeros',
    make: zeroed(0.5),
    options: LIBERO,
    check: 'weight values',
    says: /is zero in /,
  },
  {
    what: 'a LeRobot base checkpoint, whose processors hold no statistics',
    make: lerobotProcessors((directory, file) =>
      editJson(join(directory, file), pipeline => {
        for (const step of pipeline['steps'] as Record<string, unknown>[]) delete step['state_file']
      }),
    ),
    check: 'config',
    says: /has no state file: a base checkpoint/,
    todo: /Fine-tune it/,
  },
  {
    what: 'a LeRobot checkpoint of before its processors',
    make: lerobotProcessors((directory, file) => rmSync(join(directory, file))),
    check: 'config',
    says: /policy_preprocessor\.json is missing/,
    todo: /migrate_policy_normalization\.py/,
  },
  {
    what: 'a policy.json that names a file outside its directory',
    make: manifest({ weights: `../../${SAFETENSORS}` }),
    check: 'directory',
    says: /policy\.json: weights names \.\.\/\.\.\/model\.safetensors, which lies outside/,
    todo: /Copy the file into/,
  },
  {
    what: 'a processor that names a file outside its directory',
    make: lerobotProcessors((directory, file) =>
      editJson(join(directory, file), pipeline => {
        for (const step of pipeline['steps'] as Record<string, unknown>[])
          if (step['state_file']) step['state_file'] = '/etc/passwd'
      }),
    ),
    check: 'config',
    says: /state_file names \/etc\/passwd, which lies outside/,
    todo: /Copy the file into/,
  },
  {
    what: 'a named pipe',
    make: changed(directory => {
      rmSync(join(directory, SAFETENSORS))
      execFileSync('mkfifo', [join(directory, SAFETENSORS)])
    }),
    options: LIBERO,
    check: 'weights',
    says: /model\.safetensors: is a named pipe, not a file/,
    todo: /regular file/,
  },
  {
    what: 'a config.json of 100 MB',
    make: changed(directory => truncateSync(join(directory, 'config.json'), 100_000_000)),
    options: LIBERO,
    check: 'directory',
    says: /config\.json: has 100000000 bytes; no file of its kind has more/,
    todo: /Give the right file/,
  },
]
