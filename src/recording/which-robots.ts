/** Which robots are recorded: all but some, or some. Callers without a name are recorded with all alone. */
export class WhichRobots {
  #all = false
  /** Those left out of all, or those that are recorded. */
  #named = new Set<string>()

  get none(): boolean {
    return !this.#all && this.#named.size === 0
  }

  has(robot: string | undefined): boolean {
    return robot === undefined ? this.#all : this.#named.has(robot) !== this.#all
  }

  /** These, too; all without names. */
  add(robots?: readonly string[]): void {
    if (robots === undefined) {
      this.#all = true
      this.#named.clear()
    } else for (const robot of robots) this.#set(robot, !this.#all)
  }

  /** These no longer; none at all without names. */
  remove(robots?: readonly string[]): void {
    if (robots === undefined) {
      this.#all = false
      this.#named.clear()
    } else for (const robot of robots) this.#set(robot, this.#all)
  }

  /** `robots` null stands for all but `except`. */
  get told(): { robots: string[] | null; except: string[] } {
    const named = [...this.#named]
    return this.#all ? { robots: null, except: named } : { robots: named, except: [] }
  }

  #set(robot: string, named: boolean): void {
    if (named) this.#named.add(robot)
    else this.#named.delete(robot)
  }
}
