import { type ColumnSource, type ParquetWriteOptions, parquetWriteFile } from 'hyparquet-writer'

type SchemaElement = NonNullable<ParquetWriteOptions['schema']>[number]

/** A column, and the elements of the file's schema that describe it. */
export interface Column {
  name: string
  data: unknown[]
  elements: SchemaElement[]
}

const optional = { repetition_type: 'OPTIONAL' } as const

const value = (name: string, type: 'FLOAT' | 'INT64' | 'BOOLEAN' | 'BYTE_ARRAY'): SchemaElement => ({
  name,
  type,
  ...optional,
})
const utf8 = (name: string): SchemaElement => ({ ...value(name, 'BYTE_ARRAY'), converted_type: 'UTF8' })

const listOf = (name: string, element: SchemaElement): SchemaElement[] => [
  { name, ...optional, num_children: 1, converted_type: 'LIST' },
  { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  { ...element, name: 'element' },
]

/** Columns of the kinds that datasets have. */
export const column = {
  int64: (name: string, data: readonly number[]): Column => ({
    name,
    data: data.map(BigInt),
    elements: [value(name, 'INT64')],
  }),
  float: (name: string, data: readonly number[]): Column => ({
    name,
    data: [...data],
    elements: [value(name, 'FLOAT')],
  }),
  bool: (name: string, data: readonly boolean[]): Column => ({
    name,
    data: [...data],
    elements: [value(name, 'BOOLEAN')],
  }),
  text: (name: string, data: readonly string[]): Column => ({
    name,
    data: [...data],
    elements: [utf8(name)],
  }),
  texts: (name: string, data: readonly (readonly string[])[]): Column => ({
    name,
    data: [...data],
    elements: listOf(name, utf8('')),
  }),
  floats: (name: string, data: readonly (readonly number[])[]): Column => ({
    name,
    data: [...data],
    elements: listOf(name, value('', 'FLOAT')),
  }),
  /** Pictures as Hugging Face's Image feature keeps them. */
  images: (name: string, data: readonly Uint8Array[]): Column => ({
    name,
    data: data.map(bytes => ({ bytes, path: null })),
    elements: [{ name, ...optional, num_children: 2 }, value('bytes', 'BYTE_ARRAY'), utf8('path')],
  }),
}

/** Writes columns of equal length. `pandas`: what pandas is to know of them. */
export function writeParquet(filename: string, columns: readonly Column[], pandas?: object): void {
  const root: SchemaElement = { name: 'schema', num_children: columns.length }
  const columnData = columns.map(({ name, data }) => ({ name, data })) as ColumnSource[]
  parquetWriteFile({
    filename,
    columnData,
    schema: [root, ...columns.flatMap(({ elements }) => elements)],
    statistics: false,
    ...(pandas && { kvMetadata: [{ key: 'pandas', value: JSON.stringify(pandas) }] }),
  })
}
