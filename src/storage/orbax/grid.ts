/** The product of some sizes. */
export const product = (sizes: readonly number[]) => sizes.reduce((result, size) => result * size, 1)

/** Coordinates of the element at a row-major index. */
export function coordinates(index: number, shape: readonly number[]): number[] {
  const result = new Array<number>(shape.length)
  let rest = index
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    result[axis] = rest % shape[axis]!
    rest = Math.floor(rest / shape[axis]!)
  }
  return result
}

/**
 * Elements of a box that come before `place` in row-major order; since a box keeps that order, those of any run of the
 * array's elements are a run of the box's.
 */
export function countBefore(
  place: readonly number[],
  origin: readonly number[],
  box: readonly number[],
): number {
  let count = 0
  let rest = product(box)
  for (const [axis, size] of box.entries()) {
    rest /= size
    const offset = place[axis]! - origin[axis]!
    if (offset < 0) return count
    if (offset >= size) return count + size * rest
    count += offset * rest
  }
  return count
}

/** Every coordinate of a grid of these sizes, in row-major order. */
export function* gridOf(sizes: readonly number[]): Generator<number[]> {
  const total = product(sizes)
  for (let i = 0; i < total; i++) yield coordinates(i, sizes)
}

/** A run of elements that lies together in a chunk as well as in its array. */
interface Run {
  /** First element within the chunk and within the array. */
  from: number
  to: number
  count: number
}

/**
 * The elements [first, end) of a chunk as runs, with their places in the array. What an edge chunk holds beyond the array
 * is left out.
 */
export function* runsOf(
  first: number,
  end: number,
  origin: readonly number[],
  box: readonly number[],
  shape: readonly number[],
): Generator<Run> {
  // Trailing axes that the chunk covers whole make longer runs.
  let inner = box.length - 1
  while (inner > 0 && box[inner] === shape[inner]) inner--
  const length = product(box.slice(Math.max(inner, 0)))
  const valid = inner < 0 ? 1 : Math.min(box[inner]!, shape[inner]! - origin[inner]!) * (length / box[inner]!)
  for (let from = first; from < end; ) {
    const start = from - (from % length)
    const stop = Math.min(end, start + length)
    const place = coordinates(start, box).map((offset, axis) => offset + origin[axis]!)
    const inside = place.every((position, axis) => position < shape[axis]!)
    const count = Math.min(stop, start + valid) - from
    if (inside && count > 0) {
      const to = place.reduce((index, position, axis) => index * shape[axis]! + position, 0)
      yield { from, to: to + from - start, count }
    }
    from = stop
  }
}
