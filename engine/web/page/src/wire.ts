// What crosses the socket between the page and the show's server.

export interface Parameter {
  name: string
  minimum: number
  maximum: number
  default: number
  unit: string
  meaning: string
  choices: string[]
  group: string
  wins: string // LTP, HTP, performer, cue or hand
}

/** A table of the show file, with only the keys that the file sets. */
export type Table = { [key: string]: unknown }
export type Entry = Table & { index: number }
export type TableName = "route" | "cue" | "preset" | "modulator" | "sensor"

export interface Schema {
  $ref?: string
  $defs?: { [name: string]: Schema }
  type?: string
  enum?: unknown[]
  const?: unknown
  anyOf?: Schema[]
  items?: Schema
  prefixItems?: Schema[]
  properties?: { [key: string]: Schema }
  required?: string[]
  additionalProperties?: unknown
  minimum?: number
  maximum?: number
  exclusiveMinimum?: number
  default?: unknown
  description?: string
}

export interface Show {
  type: "hello" | "show"
  role: "full" | "view"
  revision: number
  show: { title: string; fps: number; sound_ms: number; picture_ms: number; generator: string; path: string }
  parameters: Parameter[]
  generators: string[]
  curves: string[]
  cues: Entry[]
  routes: Entry[]
  own_routes: number // so many are the file's; those behind them come from maps of controllers
  modulators: Entry[]
  sensors: Entry[]
  presets: string[]
  kept: Entry[] // those that the file has
  morph: { corners: string[] } | null
  schema: Schema
}

export interface Levels {
  type: "levels"
  tick: number
  levels: [index: number, level: number][]
}

export interface State {
  type: "state"
  cue: number // index in the list, or -1
  next: number
  held: boolean
  dark: number // 0 to 1: how much of the picture the blackout has taken
  fading: number // 0 to 1 of the present cue
  beat: number
  bpm: number
  bar: number
  meters: {
    due: number
    shown: number
    late: number
    held: number
    underruns: number
    dropped: number
    sound: [left: number, right: number] // peaks, 1 is full scale
    latency: { edges_ms: number[]; counts: number[] } // upper ends; the last bin takes the rest
  }
  inputs: [address: string, value: number, seconds_ago: number][]
  modulated: number[] // 0 to 1, in the order of the modulators; -1 before the first step
  moved_by: [index: number, mover: string][]
  musician: {
    notes: [start_beat: number, length_beats: number, note: number, velocity: number, committed: number][]
  }
  generator: { playing: string; wanted: string; refused: string }
  recording: {
    path: string | null
    seconds: number
    take: { name: string; since_s: number } | null
    takes: string[]
  }
  render: { path: string; share: number } | null
  warnings: string[]
  trouble: string // what is wrong with the show file as it stands, one line an error
}

export interface Learned {
  type: "learned"
  parameter: string
  address: string
  value: number
}

/** The answer to a request; one that could not be read has no number. */
export type Answer = { type?: undefined; id: number | null; ok?: true; error?: string }
export type Told = Show | Levels | State | Learned | Answer

export type Request =
  | { do: "set"; parameter: string; value: number }
  | { do: "go" | "back" | "tap" | "ping" | "unlearn" }
  | { do: "goto"; number: number }
  | { do: "hold" | "blackout"; on: boolean }
  | { do: "recall"; preset: string; fade_s: number }
  | { do: "store"; preset: string }
  | { do: "swap"; generator: string }
  | { do: "learn"; parameter: string }
  | { do: "edit"; table: TableName; index: number | null; value: Table | null; was: Table | null }
  | { do: "take"; on: boolean; name: string }
  | { do: "render"; take: string | null }
  | { do: "preview"; on: boolean; fps: number }
