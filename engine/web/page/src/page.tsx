// The page: what is looked at on the left, what is touched in the middle, what is started on the right.
import { signal } from "@preact/signals"
import { useEffect } from "preact/hooks"
import { ask, connection, trouble } from "./board"
import { Cues, Transport } from "./cues"
import { Header } from "./header"
import { Levels } from "./levels"
import { Modulators } from "./modulators"
import { Monitor } from "./monitor"
import { Patch } from "./patch"
import { Presets } from "./presets"
import { Preview } from "./preview"
import { Sheet } from "./sheet"

const TROUBLE_MS = 8000

type Size = "wide" | "tablet" | "tall" | "phone"

const QUERIES: [Size, MediaQueryList][] = [
  ["wide", matchMedia("(min-width: 1280px)")],
  ["phone", matchMedia("(max-width: 640px)")],
  ["tall", matchMedia("(orientation: portrait)")],
]
const size = signal<Size>("tablet")

function measure(): void {
  size.value = QUERIES.find(([, query]) => query.matches)?.[0] ?? "tablet"
}

measure()
for (const [, query] of QUERIES) query.addEventListener("change", measure)

const VIEWS = { Stage, Levels, Patch, Modulators, Presets, Monitor }
type View = keyof typeof VIEWS

const SHOWN: { [size in Size]: View[] } = {
  wide: ["Levels", "Patch", "Modulators", "Presets"],
  tablet: ["Levels", "Patch", "Modulators", "Presets", "Monitor"],
  tall: ["Levels", "Patch", "Modulators", "Presets", "Monitor"],
  phone: ["Stage", "Levels", "Patch", "Modulators", "Presets", "Monitor"],
}
const wanted = signal<View>("Levels")

const AWAY: { [connection: string]: string } = {
  lost: "The show is out of reach. Trying again \u2026",
  barred:
    "The show has begun anew, with a new code: scan it, or open the address that stands in its terminal.",
}

export function Page() {
  useEffect(() => {
    document.addEventListener("keydown", shortcut)
    return () => document.removeEventListener("keydown", shortcut)
  }, [])
  const away = AWAY[connection.value]
  const phone = size.value === "phone"
  return (
    <div class={`page ${size}`}>
      <Header />
      <main inert={away !== undefined}>
        {!phone && <Preview />}
        {size.value === "wide" && <Monitor />}
        <Desk />
        {!phone && <Cues />}
        <Transport />
      </main>
      <Sheet />
      <Trouble />
      {away && (
        <p class="away" role="alert">
          {away}
        </p>
      )}
    </div>
  )
}

function Stage() {
  return (
    <div class="stage">
      <Preview />
      <Cues />
    </div>
  )
}

function Desk() {
  const views = SHOWN[size.value]
  const view = views.includes(wanted.value) ? wanted.value : (views[0] ?? "Levels")
  const Shown = VIEWS[view]
  const key = (event: KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
    if (!by) return
    const next = views[(views.indexOf(view) + by + views.length) % views.length] ?? view
    wanted.value = next
    document.getElementById(`tab-${next}`)?.focus()
  }
  return (
    <section class="desk" aria-label="Desk">
      <div class="tabs" role="tablist" aria-label="Views" onKeyDown={key}>
        {views.map((each) => (
          <button
            key={each}
            id={`tab-${each}`}
            role="tab"
            aria-selected={each === view}
            aria-controls="view"
            tabIndex={each === view ? 0 : -1}
            onClick={() => (wanted.value = each)}
          >
            {each}
          </button>
        ))}
      </div>
      <div class="view" id="view" role="tabpanel" aria-labelledby={`tab-${view}`}>
        <Shown />
      </div>
    </section>
  )
}

function Trouble() {
  useEffect(() => {
    let timer = 0
    return trouble.subscribe((words) => {
      clearTimeout(timer)
      if (words) timer = window.setTimeout(() => (trouble.value = ""), TROUBLE_MS)
    })
  }, [])
  return (
    <div class="trouble" role="alert">
      {trouble.value && (
        <>
          <p>{trouble}</p>
          <button onClick={() => (trouble.value = "")}>Close</button>
        </>
      )}
    </div>
  )
}

/** The keys of the window, where no control has the keyboard: space is GO, backspace back, Enter taps. */
function shortcut(event: KeyboardEvent): void {
  if (event.target !== document.body || event.repeat) return
  const does = { " ": "go", Backspace: "back", Enter: "tap" } as const
  const request = does[event.key as keyof typeof does]
  if (!request) return
  event.preventDefault()
  void ask({ do: request })
}
