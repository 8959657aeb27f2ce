import type { ObservationSpec } from './observation.js'

/** The tabletop as its two cameras see it, 112 × 112: examples/image.jpg and examples/wrist_image.jpg halved, as JPEG in base64. */
const FRONT =
  '/9j/2wBDAA0NDQ0ODQ4QEA4UFhMWFB4bGRkbHi0gIiAiIC1EKjIqKjIqRDxJOzc7STxsVUtLVWx9aWNpfZeHh5e+tb75+f//2wBDAQ0NDQ0ODQ4QEA4UFhMWFB4bGRkbHi0gIiAiIC1EKjIqKjIqRDxJOzc7STxsVUtLVWx9aWNpfZeHh5e+tb75+f//wgARCABwAHADASIAAhEBAxEB/8QAGgAAAwEBAQEAAAAAAAAAAAAAAAEGBAIFA//EABkBAAMBAQEAAAAAAAAAAAAAAAACAwEEBf/aAAwDAQACEAMQAAAAlEUqNNFYl2UKsCUKwCTKwCUVYBJlJNvhWSdYm6AI0AZifC07Mnn+hD2xrzujNKVcpabq5OsDSBFxCD48fL47Hc/sPUAm2eTrJO0ysk6wNAONEmC/D7jyapJyztpMVs6yz8nWSmOquUrA0DI0Djzs6PUOet5zZjRns+TwNmeTq5WilXJ1hukFF+cPomWTRsRpgCYZpSrk7TdJNNlqiUFarJQCsJQCrJQCqcogpZsTr//EAC4QAAAEAwgBBAICAwAAAAAAAAABAgQDEBEUITE0U4GhsVETIEFSBRIjYTNDcf/aAAgBAQABPwA5l7L/AJP3bybNoC4KDNF999TFkb6fJiyN9PkwTRvp8mLI3P8A18mLK30+TFkb6fJiyt9PkxZG+nyYsjfT5MWNvp8mHLaAiAsyh33fJ+ZtMvD37nWX9A/a7yy9uxhiLqBpl4e/cima0EdDMeonyHav4akG6lesncXDYO8vE27GEml7eHv37VIJMQ4ijuHrQ4pfqWITBT6SULvCW8JJkpKL/wDpjAYh3ll7dyrcGl8CHv2LyKZ1/UxHNS0XEIUJZrwBypiMQ6/wL27BVrJnlod/nuRVkZGZGPRP7TYsUIQS1FVQXAQsqGQeNibxKFgeAeZaJt2KSaZdG/YORihzqIC0qhpNMvyy0mtCSDvLxNuxeK1DTLw9+5VFB5BYzbPYjcqYl8CJ+WWpNCh8ha1LUajxMO8vE27FZNcujfuXgLP9UmfyLZEBYClBdhK6TzLxL/HcvAaZaHT++xS+SkmpJlXEWE9TgFIzHi4HhWTvLxNux4BmGmXRf57HidBhIpUk7y69u5tnMFMFCTXff8GLW3+/Bi1t9Tgxa2+pwYtbfU4MWtv9+DFrb6nBi1t/vwYtbbU4MWuBqcGLW21ODDlzBVAWSYl911D8gpbSp76DzKg//8QAIxEAAQMEAgEFAAAAAAAAAAAAAQADMQIQE1EREgQgIUFhcf/aAAgBAgEBPwCqrqso0sg0sv0sg0sg0qauycgX61aTPgZfGrfyccc+3GrNwU7AuKuyDrgBAcqAPwDZuCnYFwAITQHJTgHVNQf1OwLGoCwJEI1EyU3BTkCxAM+huCjSKljGysY2sYWMLGNqmngSv//EAB8RAAEFAQEBAAMAAAAAAAAAAAEAAgMREjEQBCAhUf/aAAgBAwEBPwAC1hYWFhYRFFM77Y/qfPmQMzd1+/HpnjiACTwBQzMmDsLLelovx6Z4WhwIPD1RQxxXgVfVITQUZOk7qZ3yD5ZZ2lzKoeEAhAAcCemd8i+iaIERuq/wcgaW1srZW1soklf/2Q=='
const WRIST =
  '/9j/2wBDAA0NDQ0ODQ4QEA4UFhMWFB4bGRkbHi0gIiAiIC1EKjIqKjIqRDxJOzc7STxsVUtLVWx9aWNpfZeHh5e+tb75+f//2wBDAQ0NDQ0ODQ4QEA4UFhMWFB4bGRkbHi0gIiAiIC1EKjIqKjIqRDxJOzc7STxsVUtLVWx9aWNpfZeHh5e+tb75+f//wgARCABwAHADASIAAhEBAxEB/8QAGgAAAgMBAQAAAAAAAAAAAAAAAAEDBAUCBv/EABoBAAIDAQEAAAAAAAAAAAAAAAACAQMEBQb/2gAMAwEAAhADEAAAALDDJek2CaAAZCaZIq1TbRqmVbJstGK5iCGmEoYCaCM/M08z1nLNPM00nQGvLdMXOLau4qjdLaqom4qgRNFn7FkV55XU4gosi8/6Dz2in0rq9ZM1hx9tsOe+ZbzPo/O+i0VSprPawA4xtysZYQefhWZYpL/Qibm/H1exlXWjtsvkkFdhz2CxqUhOW1NgDJLdTbdNawLRn8OIyawAGJghoGCIN3CvuvqnDLoz/wD/xAAtEAABAwMDAgUEAgMAAAAAAAABAAIRAxAhEjFRBEEFExQggTAzQ1IiIzJxwf/aAAgBAQABPwDuuFtNipXzcZv/ALWwW3b6EhBdT1Bo6IEzKPXu/Veuf+q6aua2s7RHuhTbm3iH4vm2F0IxU+F3UWjdb+zdQuv/ABfN/D9qnwhnFw9vK1t5WtvK1t5WpvK1t5WpvKrU6dWJOy9DSXoaao0W0pjuptUJbTcV6p3CEkKCoK0lQSiCAvVP4VJxcwH21vtOWd02dIU97RZ8wsKh9ptuLZVbFJ/wimVDpXmuVM6hJtMJ06SoVH7TVFzsnguYQndG9vdAQEAqOWrNnCQRK9A/lU2FrQ2coJrXPwApQhYVaNQtKoxpvF+l6HWNdQY4TKEN/iIHsLQ7JC8tmMLymZwmgDAtFuF0VHzahn/EbqmzGorb3ZPu8OZ/UTyoi/a5FzeV4c6aMDssYP0Zldr9DW0VNB2d/wAVJ0iDb//EACYRAAIBAgQGAwEAAAAAAAAAAAECAwAQBBETMQUgNFFSYSFxsYH/2gAIAQIBAT8A5YeH4maNZEUZH3U2AxEEZkdQFHu4vw3oof7+1xTo3+1/bRxhgczWknlWkvlWkvlWtPCiqkzBakxM8ilXlYjsbQ7GtQWG4qbYX1GRTlZdhZnZt6WMn5N8h2F0Gbc6HJrf/8QAJhEAAgAEBQMFAAAAAAAAAAAAAQIAAxARBBITMVEgM5EVIVNhcv/aAAgBAwEBPwDpfES0bKSbwk+W5yqffqxPeeML3lo7ZY1G4jUbiM7cQFRySUF4EqWpuqgGkzcR6hJ4bxCOHUMNiKS9zXGMUlZl3uIMYfsS/wA0CgQ0wDajKrizKCPuNGT8SeIAAFgLCjmy9bi60//Z'

/** The robot's state in those pictures, as LIBERO has it: position 3, axis-angle 3, finger positions 2. */
const STATE = [0.52, 0.65, 0.34, 0, 0, 0, 0.04, -0.04]

/**
 * A body of POST /infer that a policy of this embodiment takes: pictures for the cameras that it requires, and where it is no
 * LIBERO robot a state of zeros, as in the self-test.
 */
export function exampleObservation({
  embodiment,
  cameras,
  state,
  prompt,
}: ObservationSpec): Record<string, unknown> {
  const example: Record<string, unknown> = {}
  for (const { key, required } of cameras)
    if (required) place(example, key, /wrist/.test(key) ? WRIST : FRONT)
  for (const { key, size } of state)
    place(example, key, embodiment === 'libero' && size === STATE.length ? STATE : new Array(size).fill(0))
  place(example, prompt.key, prompt.default ?? 'pick up the red block')
  return example
}

/** `images.cam_high` stands in `images`. */
function place(example: Record<string, unknown>, key: string, value: unknown): void {
  const path = key.split('.')
  const last = path.pop() as string
  let group = example
  for (const name of path) group = (group[name] ??= {}) as Record<string, unknown>
  group[last] = value
}
