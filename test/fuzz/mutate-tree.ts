import type { Random } from './random.js'

type Container = Record<string, unknown> | unknown[]

/** Nodes of a tree that may be changed. */
const MOST_NODES = 4000

const nested = (depth: number): unknown => (depth === 0 ? 0 : [nested(depth - 1)])

/** Values that readers trip over. */
const ODD: readonly (() => unknown)[] = [
  () => null,
  () => true,
  () => -0,
  () => -1,
  () => 0.5,
  () => 2 ** 31,
  () => 2 ** 53,
  () => 1e308,
  () => 3e38,
  () => 1e-320,
  () => '',
  () => 'x',
  () => '0',
  () => '\0a\0',
  () => '\ufeffa',
  () => '\ud800',
  () => '\u0141\uff41',
  () => '../../etc/passwd',
  () => 'A'.repeat(5000),
  () => [],
  () => ({}),
  () => [null],
  () => ({ a: 1 }),
  () => nested(40),
  () => Array(300).fill(1),
  () => Array.from({ length: 20 }, (_, i) => ({ [`k${i}`]: i })),
]
const KEYS = ['__proto__', 'constructor', 'toString', '', 'a.b', '0', 'type', 'x'.repeat(300), '\0']

const isContainer = (value: unknown): value is Container =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && isPlain(value)

const isPlain = (value: object) => {
  const prototype = Object.getPrototypeOf(value) as object | null
  return (
    Array.isArray(value) || prototype === Object.prototype || Object.getPrototypeOf(prototype ?? {}) === null
  )
}

/** A copy of a tree of objects and lists with one to three changes of its structure. */
export function mutateTree(tree: unknown, random: Random, odd: readonly (() => unknown)[] = []): unknown {
  const root: { tree: unknown } = { tree: copied(tree) }
  for (let changes = 1 + random.below(3); changes > 0; changes -= 1) change(root, random, [...ODD, ...odd])
  return root.tree
}

function change(root: Container, random: Random, odd: readonly (() => unknown)[]): void {
  const places: [Container, string | number][] = []
  const collect = (container: Container) => {
    for (const key of Object.keys(container)) {
      if (places.length >= MOST_NODES) return
      places.push([container, Array.isArray(container) ? Number(key) : key])
      const value = (container as Record<string, unknown>)[key]
      if (isContainer(value)) collect(value)
    }
  }
  collect(root)
  const [container, key] = random.of(places)
  const fields = container as Record<string | number, unknown>
  const value = fields[key]
  switch (random.below(7)) {
    case 0:
      if (container === root) return
      if (Array.isArray(container)) container.splice(Number(key), 1)
      else Reflect.deleteProperty(container, key)
      return
    case 1:
      if (Array.isArray(container)) container.push(copied(value))
      else if (container !== root) set(container, random.of(KEYS), copied(value))
      return
    case 2: {
      const [from, at] = random.of(places)
      fields[key] = copied((from as Record<string | number, unknown>)[at])
      return
    }
    case 3:
      if (typeof value === 'number') fields[key] = value * random.of([-1, 0, 2, 1e6, 1e300, 1 / 3])
      else if (typeof value === 'string')
        fields[key] = value.slice(0, random.below(value.length + 1)) + random.of(KEYS)
      else fields[key] = random.of(odd)()
      return
    case 4:
      if (isContainer(value) && !Array.isArray(value)) set(value, random.of(KEYS), random.of(odd)())
      else fields[key] = [value]
      return
    default:
      fields[key] = random.of(odd)()
  }
}

const set = (object: object, key: string, value: unknown) =>
  Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true })

function copied(value: unknown, depth = 0): unknown {
  if (!isContainer(value) || depth > 60) return value
  if (Array.isArray(value)) return value.map(item => copied(item, depth + 1))
  const copy: Record<string, unknown> = {}
  for (const key of Object.keys(value)) set(copy, key, copied(value[key], depth + 1))
  return copy
}
