/** One observation as the network takes it. */
export interface PerceiveRow {
  /** One entry a camera slot, in the config's order: u8 RGB [imageSize, imageSize, 3] row-major, or null when masked. */
  images: readonly (Uint8Array | null)[]
  /** Valid prompt tokens only, no padding; at most maxTokenLength. */
  tokens: Int32Array
  /** Normalised state padded to actionDim, where the variant has a state token. */
  state?: Float32Array
}
