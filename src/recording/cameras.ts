/** What becomes of cameras: everything as it came, arrays as JPEG, or nothing. */
export const CAMERAS = ['exact', 'jpeg', 'off'] as const
export type Cameras = (typeof CAMERAS)[number]
