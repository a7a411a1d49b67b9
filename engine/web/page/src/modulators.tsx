// The modulators of the show: what moves by itself, and can be a route's source.
import { show, state, viewing } from "./board"
import { plain } from "./numbers"
import { Bar } from "./patch"
import { edit } from "./sheet"
import type { Entry } from "./wire"

export function Modulators() {
  const modulators = show.value?.modulators ?? []
  return (
    <div class="modulators">
      <ul class="cards">
        {modulators.map((each) => (
          <Modulator key={each.index} modulator={each} />
        ))}
      </ul>
      {modulators.length === 0 && (
        <p class="empty">No modulator yet: an oscillator, a random walk, a sequence of steps, an envelope.</p>
      )}
      <div class="row">
        <button disabled={viewing} onClick={() => edit("modulator", null)}>
          Add a modulator
        </button>
      </div>
    </div>
  )
}

function Modulator({ modulator }: { modulator: Entry }) {
  const { index, name, ...keys } = modulator
  const source = `/modulator/${String(name)}`
  const live = state.value?.modulated?.[index] ?? 0
  const routed = show.value?.routes.filter((route) => route["from"] === source) ?? []
  return (
    <li class="card">
      <button class="link" onClick={() => edit("modulator", modulator)}>
        {String(name)}
      </button>
      <p>
        {Object.entries(keys)
          .map(([key, value]) => `${key} ${plain(JSON.stringify(value).replaceAll('"', ""))}`)
          .join(", ")}
      </p>
      <Bar share={live} />
      <div class="row">
        <span class="told">
          {routed.length
            ? `moves ${routed.map((route) => String(route["to"])).join(", ")}`
            : "moves nothing yet"}
        </span>
        <button
          disabled={viewing}
          aria-label={`A route from ${String(name)}`}
          onClick={() => edit("route", null, { from: source })}
        >
          Route
        </button>
      </div>
    </li>
  )
}
