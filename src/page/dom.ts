/** The element of an id in index.html. */
export function byId<T extends Element>(id: string, kind: new () => T): T {
  return checked(document.getElementById(id), kind, `#${id}`)
}

/** The part of a template's copy: the element with that `data-part`. */
export function part<T extends Element>(root: ParentNode, name: string, kind: new () => T): T {
  return checked(root.querySelector(`[data-part="${name}"]`), kind, `[data-part="${name}"]`)
}

function checked<T extends Element>(element: Element | null, kind: new () => T, what: string): T {
  if (element instanceof kind) return element
  throw new Error(`index.html has no ${kind.name} ${what}`)
}

/** The article that a template holds, as a fresh copy. */
export function copyOf(templateId: string): HTMLElement {
  const copy = byId(templateId, HTMLTemplateElement).content.cloneNode(true) as DocumentFragment
  return copy.firstElementChild as HTMLElement
}

const SVG = 'http://www.w3.org/2000/svg'

export function svg(tag: string, attributes: Record<string, string | number> = {}): SVGElement {
  const element = document.createElementNS(SVG, tag)
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value))
  return element
}

export function html<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  text = '',
  className = '',
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  element.textContent = text
  if (className) element.className = className
  return element
}

/** Names of joints, cameras and keys, which may be long: they break where their parts end. */
export function nameOf(name: string): HTMLElement {
  const element = html('span', '', 'name')
  for (const piece of name.split(/(?<=[_/]|\.(?=\D))/)) element.append(piece, html('wbr'))
  return element
}

/** 7.3 ms, 120 ms, 1.4 s. */
export function milliseconds(ms: number): string {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`
  return `${ms >= 100 ? ms.toFixed(0) : ms.toFixed(1)} ms`
}

/** A number in at most four characters or so. */
export function compact(value: number): string {
  if (Math.abs(value) < 0.0005) return '0'
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3
  return value.toFixed(digits).replace('-', '−')
}
