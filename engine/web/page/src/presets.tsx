// Presets: levels kept under a name, recalled by a fade, and four of them under a finger.
import { computed, signal } from "@preact/signals"
import { useRef } from "preact/hooks"
import { ask, byName, level, move, show, viewing } from "./board"
import { Segments } from "./fader"
import { STEP } from "./numbers"
import { edit } from "./sheet"

const FADES = ["0", "1", "2", "5", "10"]
const fade_s = signal("2")
const name = signal("")
const sure = signal("") // the name that Store was pressed for once, though a preset has it

export function Presets() {
  const presets = show.value?.presets ?? []
  const kept = new Map(show.value?.kept.map((each) => [String(each["name"]), each]))
  const store = async () => {
    const wanted = name.value.trim()
    if (presets.includes(wanted) && sure.value !== wanted) return void (sure.value = wanted)
    if (await ask({ do: "store", preset: wanted })) name.value = sure.value = ""
  }
  return (
    <div class="presets">
      <section aria-label="Presets">
        <h2>Presets</h2>
        <div class="row">
          <span class="key">Fade, s</span>
          <Segments
            name="Fade of a recall in seconds"
            options={FADES}
            chosen={fade_s.value}
            onChoose={(to) => (fade_s.value = to)}
          />
        </div>
        <ul class="shelf">
          {presets.map((each) => (
            <li key={each}>
              <button
                disabled={viewing}
                aria-label={`Recall ${each}`}
                onClick={() => void ask({ do: "recall", preset: each, fade_s: Number(fade_s.value) })}
              >
                {each}
              </button>
              {kept.has(each) && (
                <button
                  class="beside"
                  disabled={viewing}
                  aria-label={`Edit ${each}`}
                  onClick={() => edit("preset", kept.get(each) ?? null)}
                >
                  Edit
                </button>
              )}
            </li>
          ))}
        </ul>
        {presets.length === 0 && (
          <p class="empty">No preset yet. Give the levels of this moment a name, and store them.</p>
        )}
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault()
            void store()
          }}
        >
          <input
            type="text"
            aria-label="Name of the preset"
            placeholder="Name"
            required
            value={name}
            onInput={({ currentTarget }) => (name.value = currentTarget.value)}
          />
          <button type="submit" disabled={viewing}>
            {sure.value && sure.value === name.value.trim() ? "Store over it" : "Store"}
          </button>
        </form>
      </section>
      <Morph />
    </div>
  )
}

const x = computed(() => show.value?.parameters[byName.value.get("morph.x") ?? -1])
const y = computed(() => show.value?.parameters[byName.value.get("morph.y") ?? -1])

/** The pad between four presets: the nearer the finger to a corner, the more of that preset. */
function Morph() {
  const pad = useRef<HTMLDivElement>(null)
  const morph = show.value?.morph
  if (!x.value || !y.value) return null
  if (!morph) {
    return (
      <section class="morph" aria-label="Morph">
        <h2>Morph</h2>
        <p class="empty">
          Four presets that the show file names under [morph], as corners, lie here under one finger.
        </p>
      </section>
    )
  }
  const across = x.value
  const up = y.value
  const at = (parameter: typeof across) => level(byName.value.get(parameter.name) ?? 0)
  const follow = (event: PointerEvent) => {
    if (!pad.current?.hasPointerCapture(event.pointerId)) return
    const { left, top, width, height } = pad.current.getBoundingClientRect()
    move(across, (event.clientX - left) / width)
    move(up, 1 - (event.clientY - top) / height)
  }
  const key = (event: KeyboardEvent) => {
    const ways: { [key: string]: [x: number, y: number] } = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, 1],
      ArrowDown: [0, -1],
    }
    const way = ways[event.key]
    if (!way) return
    event.preventDefault()
    const step = event.shiftKey ? STEP : 5 * STEP
    if (way[0]) move(across, at(across).peek() + way[0] * step)
    if (way[1]) move(up, at(up).peek() + way[1] * step)
  }
  return (
    <section class="morph" aria-label="Morph">
      <h2>Morph</h2>
      <div
        ref={pad}
        class="pad"
        role="slider"
        tabIndex={0}
        aria-label="Morph between four presets, arrows move across and up"
        aria-valuemin={0}
        aria-valuemax={1}
        aria-valuenow={Number(at(across).value.toFixed(3))}
        aria-valuetext={`across ${at(across).value.toFixed(2)}, up ${at(up).value.toFixed(2)}`}
        aria-disabled={viewing}
        onPointerDown={(event) => {
          pad.current?.setPointerCapture(event.pointerId)
          follow(event)
        }}
        onPointerMove={follow}
        onKeyDown={key}
      >
        {morph.corners.map((corner, index) => (
          <span key={index} class={`corner corner-${index}`}>
            {corner}
          </span>
        ))}
        <span class="puck" style={{ left: `${at(across).value * 100}%`, bottom: `${at(up).value * 100}%` }} />
      </div>
    </section>
  )
}
