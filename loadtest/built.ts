/** A module of the server as `npm run build` makes it: what is measured is what is served, not what a loader makes of it. */
export const built = <T>(path: string): Promise<T> =>
  import(new URL(`../dist/${path}`, import.meta.url).href) as Promise<T>
