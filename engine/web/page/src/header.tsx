// The line at the top: which show, where in its time, which generator, and whether all is well.
import { ask, connection, show, state, viewing } from "./board"
import { clock } from "./numbers"

export function Header() {
  const now = state.value
  const told = show.value?.show
  const warnings = (now?.warnings.length ?? 0) + (now?.trouble ? 1 : 0)
  return (
    <header>
      <h1>{told?.title ?? "Chladni"}</h1>
      <div class="time">
        <Beat />
        <button disabled={viewing} aria-label="Tap the tempo" onClick={() => void ask({ do: "tap" })}>
          <output>{now ? now.bpm.toFixed(1) : "\u2013"}</output> bpm
        </button>
      </div>
      <Generator />
      <dl class="vitals">
        <div>
          <dt>contract</dt>
          <dd>{told ? `${told.sound_ms} / ${told.picture_ms} ms` : "\u2013"}</dd>
        </div>
        <div class={now?.meters.late ? "bad" : ""}>
          <dt>late</dt>
          <dd>{now?.meters.late ?? "\u2013"}</dd>
        </div>
        <div class={warnings ? "bad" : ""}>
          <dt>warnings</dt>
          <dd>{now ? warnings : "\u2013"}</dd>
        </div>
        <div class={now?.recording.take ? "rec on" : "rec"}>
          <dt>{now?.recording.take ? "take" : "rec"}</dt>
          <dd>{now?.recording.path ? clock(now.recording.take?.since_s ?? now.recording.seconds) : "off"}</dd>
        </div>
      </dl>
      <Connection />
    </header>
  )
}

/** Bar and beat, and a lamp that lights on the beat. */
function Beat() {
  const now = state.value
  const beat = now?.beat ?? 0
  const first = now?.bar ?? 0
  return (
    <span class="beat">
      <span class={beat - Math.floor(beat) < 0.25 && now ? "lamp on" : "lamp"} />
      <output aria-label="Bar">{now ? Math.floor(first) + 1 : "\u2013"}</output> bar
    </span>
  )
}

function Generator() {
  const now = state.value?.generator
  const loading = now && now.wanted && now.wanted !== now.playing
  const chosen = (loading ? now.wanted : now?.playing) ?? show.value?.show.generator ?? ""
  return (
    <label class={`generator${loading ? " loading" : ""}`}>
      <span>{loading ? "loading" : "generator"}</span>
      <select
        aria-label="Generator"
        value={chosen}
        disabled={viewing}
        onChange={({ currentTarget }) => void ask({ do: "swap", generator: currentTarget.value })}
      >
        {(show.value?.generators ?? [chosen]).map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
    </label>
  )
}

const WORDS = { joining: "connecting", live: "live", lost: "no connection", barred: "not let in" }

function Connection() {
  const words = connection.value === "live" && viewing.value ? "view only" : WORDS[connection.value]
  return (
    <p class={`connection ${connection}`} role="status">
      {words}
    </p>
  )
}
