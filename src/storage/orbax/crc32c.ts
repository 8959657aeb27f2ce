/** Remainders of every byte under the Castagnoli polynomial, reflected (RFC 3720, appendix B.4). */
const REMAINDERS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0x82f63b78 : 0)
  return remainder
})

/** CRC-32C of some bytes, as an unsigned 32-bit number; `before` is that of the bytes before them. */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let crc = before ^ 0xffffffff
  for (const byte of bytes) crc = (crc >>> 8) ^ REMAINDERS[(crc ^ byte) & 0xff]!
  return (crc ^ 0xffffffff) >>> 0
}
