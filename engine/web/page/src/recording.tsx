// Takes of what is recorded, and films made of them.
import { signal } from "@preact/signals"
import { ask, viewing } from "./board"
import { clock } from "./numbers"
import { Bar } from "./patch"
import type { State } from "./wire"

const ALL = "All so far"
const name = signal("")
const wanted = signal(ALL) // what is to be rendered

export function Recording({ recording, render }: Pick<State, "recording" | "render">) {
  const { take, path } = recording
  const takes = recording.takes ?? []
  const toggle = async () => {
    const said = take?.name ?? (name.value.trim() || `take ${takes.length + 1}`)
    if (await ask({ do: "take", on: !take, name: said })) name.value = ""
  }
  const film = takes.includes(wanted.value) ? wanted.value : null
  return (
    <section aria-label="Recording">
      <h2>Recording</h2>
      <p class="told" title={path ?? ""}>
        {path ? `${fileOf(path)}, ${clock(recording.seconds)}` : "This performance is not recorded."}
      </p>
      <div class="row">
        {take ? (
          <span class="take">{`${take.name} ${clock(take.since_s)}`}</span>
        ) : (
          <input
            type="text"
            aria-label="Name of the take"
            placeholder="Name of the take"
            value={name}
            onInput={({ currentTarget }) => (name.value = currentTarget.value)}
          />
        )}
        <button
          class={take ? "taking" : ""}
          disabled={viewing.value || !path}
          aria-pressed={take !== null}
          onClick={() => void toggle()}
        >
          Take
        </button>
      </div>
      <div class="row">
        <select
          aria-label="What to render"
          value={film ?? ALL}
          onChange={({ currentTarget }) => (wanted.value = currentTarget.value)}
        >
          {[ALL, ...new Set(takes)].map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
        <button disabled={viewing.value || !path} onClick={() => void ask({ do: "render", take: film })}>
          Render
        </button>
      </div>
      {render && <Film {...render} />}
    </section>
  )
}

function Film({ path, share }: { path: string; share: number }) {
  const done = Math.round(100 * share)
  return (
    <div role="progressbar" aria-label="Film" aria-valuemin={0} aria-valuemax={100} aria-valuenow={done}>
      <Bar share={share} />
      <p class="told" title={path}>{`${fileOf(path)}, ${done} %`}</p>
    </div>
  )
}

function fileOf(path: string): string {
  return path.split(/[\\/]/).pop() ?? path
}
