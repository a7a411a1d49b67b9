// The meters: what is late, how loud it is, what comes in, what is wrong.
import { show, state } from "./board"
import { plain } from "./numbers"
import { Bar } from "./patch"
import { Recording } from "./recording"
import { Roll } from "./roll"
import type { State } from "./wire"

const FLOOR_DB = -60

export function Monitor() {
  const now = state.value
  const wrong = [...(now?.trouble?.split("\n") ?? []), ...(now?.warnings ?? [])].filter(Boolean)
  return (
    <div class="monitor">
      {wrong.length > 0 && (
        <section aria-label="Warnings">
          <h2>Warnings</h2>
          <ul class="warnings">
            {wrong.map((each, index) => (
              <li key={index}>{each}</li>
            ))}
          </ul>
        </section>
      )}
      <Roll />
      {now && <Sound peaks={now.meters.sound} />}
      {now && <Frames meters={now.meters} />}
      {now && <Inputs inputs={now.inputs} />}
      {now && <Recording recording={now.recording} render={now.render} />}
    </div>
  )
}

function decibels(peak: number): number {
  return peak > 0 ? Math.max(20 * Math.log10(peak), FLOOR_DB) : FLOOR_DB
}

function Sound({ peaks }: { peaks: State["meters"]["sound"] }) {
  return (
    <section aria-label="Sound level">
      <h2>Sound</h2>
      {peaks.map((peak, side) => {
        const db = decibels(peak)
        const told = db <= FLOOR_DB ? "silent" : `${plain(db.toFixed(0))} dB`
        return (
          <div
            key={side}
            class={`level${peak >= 1 ? " over" : ""}`}
            role="meter"
            aria-label={side ? "Right" : "Left"}
            aria-valuemin={FLOOR_DB}
            aria-valuemax={0}
            aria-valuenow={Math.round(db)}
            aria-valuetext={told}
          >
            <span class="key">{side ? "R" : "L"}</span>
            <Bar share={1 - db / FLOOR_DB} />
            <span class="figures">{told}</span>
          </div>
        )
      })}
    </section>
  )
}

function Frames({ meters }: { meters: State["meters"] }) {
  const figures: [name: string, count: number, bad: boolean][] = [
    ["shown", meters.shown, false],
    ["late", meters.late, meters.late > 0],
    ["held", meters.held, meters.held > 0],
    ["underruns", meters.underruns, meters.underruns > 0],
    ["dropped", meters.dropped, meters.dropped > 0],
  ]
  const { edges_ms, counts } = meters.latency
  const most = Math.max(...counts, 1)
  return (
    <section aria-label="Frames">
      <h2>Frames</h2>
      <dl class="counts">
        {figures.map(([name, count, bad]) => (
          <div key={name} class={bad ? "bad" : ""}>
            <dt>{name}</dt>
            <dd>{count.toLocaleString("en")}</dd>
          </div>
        ))}
      </dl>
      <figure
        class="histogram"
        aria-label={`Deviation from the contract of ${show.value?.show.picture_ms} ms: ${spread(meters.latency)}`}
      >
        {counts.map((count, index) => (
          <span key={index} title={`${bin(edges_ms, index)}: ${count}`}>
            <span style={{ height: count ? `${8 + (92 * Math.log1p(count)) / Math.log1p(most)}%` : "0" }} />
          </span>
        ))}
      </figure>
      <div class="axis">
        <span>0</span>
        <span>deviation, ms</span>
        <span>more than {edges_ms.at(-1)}</span>
      </div>
    </section>
  )
}

/** The words for a bin of the histogram; the edges are upper ends, and the last bin takes the rest. */
function bin(edges_ms: number[], index: number): string {
  const end = edges_ms[index]
  return end === undefined
    ? `more than ${plain(String(edges_ms.at(-1)))} ms`
    : `up to ${plain(String(end))} ms`
}

function spread({ edges_ms, counts }: State["meters"]["latency"]): string {
  const used = counts.flatMap((count, index) => (count ? [`${count} at ${bin(edges_ms, index)}`] : []))
  return used.join(", ") || "nothing measured yet"
}

function Inputs({ inputs }: { inputs: State["inputs"] }) {
  return (
    <section aria-label="Inputs">
      <h2>Inputs</h2>
      {inputs.length === 0 && <p class="empty">Nothing has come in yet.</p>}
      <ul class="inputs">
        {inputs.map(([address, value, ago_s]) => (
          <li key={address} class={ago_s < 1 ? "fresh" : ""}>
            <span class="address">{address}</span>
            <Bar share={value} />
            <span class="figures">{plain(value.toFixed(2))}</span>
          </li>
        ))}
      </ul>
    </section>
  )
}
