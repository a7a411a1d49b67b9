// What the page knows of the show, as signals, and what it may ask of it.
import { computed, signal, type Signal } from "@preact/signals"
import { Link } from "./link"
import type { Learned, Parameter, Request, Show, State } from "./wire"

const OWN_MS = 400 // a level under the finger is the page's own for so long after its last move

export const connection = signal<"joining" | "live" | "lost" | "barred">("joining")
export const show = signal<Show | null>(null)
export const state = signal<State | null>(null)
export const learning = signal("") // the parameter that waits for a knob
export const learned = signal<Learned | null>(null)
export const trouble = signal("") // the last error, for the eyes and for screen readers
export const frame = signal<ArrayBuffer | null>(null) // the newest preview, a JPEG

export const viewing = computed(() => show.value?.role === "view")
export const byName = computed(() => new Map(show.value?.parameters.map((each, index) => [each.name, index])))
export const movers = computed(() => new Map(state.value?.moved_by))

const levels: Signal<number>[] = []
const own = new Map<number, number>() // when the page set a level last, ms
const late = new Map<number, number>() // what the server said of levels that were the page's own

/** The level of a parameter, by its index. */
export function level(index: number): Signal<number> {
  return (levels[index] ??= signal(show.value?.parameters[index]?.default ?? 0))
}

const link = new Link({
  joined: () => (connection.value = "live"),
  lost: () => {
    connection.value = "lost"
    learning.value = ""
  },
  barred: () => (connection.value = "barred"),
  wrong: (words) => (trouble.value = words),
  told: (message) => {
    if (message.type === "levels") {
      for (const [index, value] of message.levels) hearLevel(index, value)
    } else if (message.type === "state") state.value = message
    else if (message.type === "learned") hearLearned(message)
    else show.value = message
  },
  frame: (jpeg) => (frame.value = jpeg),
})

function isOwn(index: number): boolean {
  return performance.now() - (own.get(index) ?? -OWN_MS) < OWN_MS
}

/**
 * A level under the finger stays where the finger is: what the server says of it meanwhile is older. The last
 * that it said comes into force once the finger has been still for a while.
 */
function hearLevel(index: number, value: number): void {
  if (isOwn(index)) {
    late.set(index, value)
  } else {
    late.delete(index)
    level(index).value = value
  }
}

setInterval(() => {
  for (const [index, value] of late) hearLevel(index, value)
}, OWN_MS / 4)

function hearLearned(message: Learned): void {
  if (message.parameter !== learning.value) return
  learning.value = ""
  learned.value = message
}

/** Move a parameter. What the finger does is seen at once, without the way to the server and back. */
export function move(parameter: Parameter, value: number): void {
  const index = byName.value.get(parameter.name)
  if (index === undefined || viewing.value) return
  const fitting = Math.min(Math.max(value, parameter.minimum), parameter.maximum)
  own.set(index, performance.now())
  late.delete(index)
  level(index).value = fitting
  link.set(parameter.name, fitting)
}

/** Ask for something; what goes wrong is told at the foot of the page. Return whether it went well. */
export async function ask(request: Request): Promise<boolean> {
  try {
    await link.ask(request)
    return true
  } catch (error) {
    trouble.value = (error as Error).message
    return false
  }
}

/** Ask for something; return the error, or nothing, to whoever shows it in a better place. */
export async function tryTo(request: Request): Promise<string> {
  return link.ask(request).then(
    () => "",
    (error: Error) => error.message,
  )
}

export function learn(parameter: Parameter): void {
  learned.value = null
  learning.value = parameter.name
  void ask({ do: "learn", parameter: parameter.name }).then((well) => {
    if (!well) learning.value = ""
  })
}

export function unlearn(): void {
  learned.value = null
  if (learning.value) void ask({ do: "unlearn" })
  learning.value = ""
}
