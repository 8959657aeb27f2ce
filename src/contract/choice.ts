import { type TLiteral, type TUnion, Type } from 'typebox'

type Literals<Names extends readonly string[]> = { -readonly [I in keyof Names]: TLiteral<Names[I]> }

/** One of these names, in the schema and in its type. */
export function choice<const Names extends readonly string[]>(
  names: Names,
  options: { description?: string } = {},
): TUnion<Literals<Names>> {
  const literals = names.map(name => Type.Literal(name))
  return Type.Union(literals, options) as unknown as TUnion<Literals<Names>>
}
