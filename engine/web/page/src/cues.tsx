// The cue list, with what moves through it: GO, back, go to, hold, blackout.
import { computed, signal, useComputed } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { ask, show, state, viewing } from "./board"
import { plain } from "./numbers"
import { edit } from "./sheet"
import type { Entry } from "./wire"

const selected = signal(-1)
const present = computed(() => state.value?.cue ?? -1)
const next = computed(() => state.value?.next ?? -1)
const held = computed(() => Boolean(state.value?.held))
const dark = computed(() => (state.value?.dark ?? 0) > 0)

export function Cues() {
  const cues = show.value?.cues ?? []
  return (
    <section class="cues" aria-label="Cues">
      <ol aria-label="Cue list">
        {cues.map((cue) => (
          <Cue key={cue.index} cue={cue} />
        ))}
        {cues.length === 0 && <li class="empty">The show has no cues.</li>}
      </ol>
      <Chosen />
    </section>
  )
}

/** What can be done with the cue that is chosen in the list. */
function Chosen() {
  const picked = show.value?.cues[selected.value]
  return (
    <div class="row">
      <button
        disabled={!picked || viewing.value}
        onClick={() => picked && void ask({ do: "goto", number: Number(picked["number"]) })}
      >
        {picked ? `Go to ${plain(String(picked["number"]))}` : "Go to"}
      </button>
      <button disabled={!picked || viewing.value} onClick={() => picked && edit("cue", picked)}>
        Edit
      </button>
      <button disabled={viewing} onClick={() => edit("cue", null)}>
        Add
      </button>
    </div>
  )
}

/** A line of the list. It is drawn again where its own standing changes: of 500 cues two at a GO. */
function Cue({ cue }: { cue: Entry }) {
  const place = useRef<HTMLButtonElement>(null)
  const here = useComputed(() => cue.index === present.value).value
  const follows = useComputed(() => cue.index === next.value).value
  const chosen = useComputed(() => cue.index === selected.value).value
  useEffect(() => {
    if (here) place.current?.scrollIntoView({ block: "nearest" })
  }, [here])
  const number = plain(String(cue["number"]))
  return (
    <li>
      <button
        ref={place}
        class={`cue${here ? " here" : ""}${follows ? " next" : ""}`}
        aria-current={here ? "step" : undefined}
        aria-pressed={chosen}
        onClick={() => (selected.value = chosen ? -1 : cue.index)}
      >
        <span class="number">{number}</span>
        <span class="title">{String(cue["name"] ?? "")}</span>
        <span class="times">{timesOf(cue)}</span>
        {here && <Fading />}
      </button>
    </li>
  )
}

const UNITS = ["s", "beats", "bars"]

/** A time that a cue gives in seconds, beats or bars. */
function timeOf(cue: Entry, what: string): string {
  const unit = UNITS.find((each) => typeof cue[`${what}_${each}`] === "number")
  return unit ? `${plain(String(cue[`${what}_${unit}`]))} ${unit}` : ""
}

function timesOf(cue: Entry): string {
  const follow = timeOf(cue, "follow") || timeOf(cue, "autofollow")
  return `${timeOf(cue, "fade") || "2 s"}${follow && ` \u2192 ${follow}`}`
}

function Fading() {
  return <span class="fading" style={{ width: `${(100 * (state.value?.fading ?? 0)).toFixed(1)}%` }} />
}

/** The buttons that a hand must find in the dark, on every view of the page. */
export function Transport() {
  const blackout = () => void ask({ do: "blackout", on: !dark.peek() })
  const hold = () => void ask({ do: "hold", on: !held.peek() })
  const upcoming = show.value?.cues[next.value]
  return (
    <section class="transport" aria-label="Transport">
      <button class="back" disabled={viewing} onClick={() => void ask({ do: "back" })}>
        Back
      </button>
      <button class="hold" disabled={viewing} aria-pressed={held} onClick={hold}>
        Hold
      </button>
      <button class="blackout" disabled={viewing} aria-pressed={dark} onClick={blackout}>
        Blackout
      </button>
      <button class="go" disabled={viewing} onClick={() => void ask({ do: "go" })}>
        GO
        {upcoming && <span>{`${plain(String(upcoming["number"]))} ${String(upcoming["name"] ?? "")}`}</span>}
      </button>
    </section>
  )
}
