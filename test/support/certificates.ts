import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

/** A certificate and its key, PEM. */
export interface Certificate {
  cert: string
  key: string
}

/** DER: a tag, the length of what follows, and that. */
function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size =
    length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, Math.floor(length / 256), length % 256]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts)
const oid = (...bytes: number[]) => der(0x06, Uint8Array.from(bytes))
const ECDSA_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02))
const name = (common: string) =>
  sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(common)))))
const time = (date: Date) => der(0x17, Buffer.from(`${date.toISOString().replace(/\D/g, '').slice(2, 14)}Z`))
const extension = (id: number, critical: boolean, value: Uint8Array) =>
  sequence(oid(0x55, 0x1d, id), ...(critical ? [der(0x01, Uint8Array.of(0xff))] : []), der(0x04, value))

const pem = (label: string, bytes: Buffer) =>
  `-----BEGIN ${label}-----\n${bytes.toString('base64').replace(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`

/** A certificate for 127.0.0.1 and localhost, valid for a day, of `issuer` or of itself. RFC 5280, with EC keys. */
export function certificate(
  common: string,
  issuer?: Certificate & { common: string },
): Certificate & { common: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const signer: KeyObject = issuer ? createPrivateKey(issuer.key) : privateKey
  const names = sequence(der(0x82, Buffer.from('localhost')), der(0x87, Uint8Array.of(127, 0, 0, 1)))
  const isAuthority = der(0x01, Uint8Array.of(0xff))
  const body = sequence(
    der(0xa0, der(0x02, Uint8Array.of(2))),
    der(0x02, Uint8Array.of(1), randomBytes(8)),
    ECDSA_SHA256,
    name(issuer?.common ?? common),
    sequence(time(new Date(Date.now() - 3600_000)), time(new Date(Date.now() + 86_400_000))),
    name(common),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(
      0xa3,
      sequence(
        extension(0x11, false, names),
        extension(0x13, true, issuer ? sequence() : sequence(isAuthority)),
      ),
    ),
  )
  const signature = der(0x03, Uint8Array.of(0), sign('sha256', body, signer))
  return {
    common,
    cert: pem('CERTIFICATE', sequence(body, ECDSA_SHA256, signature)),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}
