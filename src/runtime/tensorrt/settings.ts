/** How TensorRT is told to build. */
export interface BuildSetting {
  /** Builder optimization level, 0…5. */
  optimizationLevel: number
  /** TensorRT's internal switches, passed in the environment; '' for none. */
  flags: string
}

/** Switches that keep TensorRT 10.13/10.14 on Thor from fusing parallel products wrongly at batch 1. */
const FUSION_OFF = '-peep:fc_h_fusion=off -peep:match_dual_gemm=off'

/** Settings to try in turn. Jetson Thor starts where its known faults are avoided. */
export function settingsFor(computeCapability: string): BuildSetting[] {
  const at = (flags: string, ...levels: number[]) =>
    levels.map(optimizationLevel => ({ optimizationLevel, flags }))
  return computeCapability === '11.0'
    ? at(FUSION_OFF, 2, 1, 0)
    : [...at('', 3), ...at(FUSION_OFF, 3), ...at('', 2), ...at(FUSION_OFF, 2, 1)]
}

/** "optimization level 2 with -peep:…". */
export function describe({ optimizationLevel, flags }: BuildSetting): string {
  return `optimization level ${optimizationLevel}${flags && ` with ${flags}`}`
}
