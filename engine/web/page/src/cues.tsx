// The cue list, with what moves through it: GO, back, go to, hold, blackout.
import { computed, signal } from "@preact/signals"
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
  const picked = cues[selected.value]
  return (
    <section class="cues" aria-label="Cues">
      <ol aria-label="Cue list">
        {cues.map((cue) => (
          <Cue key={cue.index} cue={cue} />
        ))}
        {cues.length === 0 && <li class="empty">The show has no cues.</li>}
      </ol>
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
    </section>
  )
}

function Cue({ cue }: { cue: Entry }) {
  const place = useRef<HTMLButtonElement>(null)
  const here = cue.index === present.value
  useEffect(() => {
    if (here) place.current?.scrollIntoView({ block: "nearest" })
  }, [here])
  const number = plain(String(cue["number"]))
  return (
    <li>
      <button
        ref={place}
        class={`cue${here ? " here" : ""}${cue.index === next.value ? " next" : ""}`}
        aria-current={here ? "step" : undefined}
        aria-pressed={cue.index === selected.value}
        onClick={() => (selected.value = cue.index === selected.value ? -1 : cue.index)}
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
