// Every parameter, in groups, with the one under the hand enlarged below.
import { computed, signal } from "@preact/signals"
import { ask, byName, learn, learned, learning, level, move, movers, show, unlearn, viewing } from "./board"
import { Control, kindOf, Segments } from "./fader"
import { FINE, span, STEP, written } from "./numbers"
import { openRoute } from "./patch"
import type { Parameter } from "./wire"

const MOVING = "Moving"
const group = signal("")
const wanted = signal("")
const selected = signal("psi")

const groups = computed(() => [...new Set(show.value?.parameters.map((each) => each.group))])

const chosen = computed(() =>
  group.value === MOVING || groups.value.includes(group.value) ? group.value : groups.value[0],
)

const shown = computed(() => {
  const parameters = show.value?.parameters ?? []
  const text = wanted.value.trim().toLowerCase()
  if (text) return parameters.filter((each) => `${each.name} ${each.meaning}`.toLowerCase().includes(text))
  if (chosen.value === MOVING) return parameters.filter((_, index) => movers.value.has(index))
  return parameters.filter((each) => each.group === chosen.value)
})

const parameter = computed(() => show.value?.parameters[byName.value.get(selected.value) ?? 0])

export function Levels() {
  return (
    <div class="levels">
      <div class="groups">
        <input
          type="search"
          aria-label="Find a parameter"
          placeholder="Find"
          value={wanted}
          onInput={(event) => (wanted.value = event.currentTarget.value)}
        />
        <Segments
          name="Group of parameters"
          options={[MOVING, ...groups.value]}
          chosen={wanted.value ? undefined : chosen.value}
          onChoose={(name) => {
            wanted.value = ""
            group.value = name
          }}
        />
      </div>
      <div class="plates" role="group" aria-label="Parameters">
        {shown.value.map((each) => (
          <Control
            key={each.name}
            parameter={each}
            index={byName.value.get(each.name) ?? 0}
            selected={each.name === selected.value}
            onSelect={(name) => (selected.value = name)}
            onLearn={() => learn(each)}
          />
        ))}
        {shown.value.length === 0 && (
          <p class="empty">
            {wanted.value ? `No parameter has “${wanted}” in its name or meaning.` : "Nothing moves."}
          </p>
        )}
      </div>
      {parameter.value && <Inspector parameter={parameter.value} />}
    </div>
  )
}

/** What wins when a cue and a hand move the same parameter, as the show declares it. */
const WINS: { [wins: string]: string } = {
  LTP: "LTP: the latest counts",
  HTP: "HTP: the highest counts",
  performer: "performer: hands keep it",
  cue: "cue: cues keep it",
  hand: "hand: follows leave it",
}

/** The selected parameter: what it means, exact figures, what moves it, and learning. */
function Inspector({ parameter }: { parameter: Parameter }) {
  if (learning.value || learned.value) return <Learning />
  const index = byName.value.get(parameter.name) ?? 0
  const now = level(index)
  const by = (steps: number) => () => move(parameter, now.peek() + steps * span(parameter))
  const mover = movers.value.get(index)
  const routes = show.value?.routes.filter((route) => route["to"] === parameter.name) ?? []
  return (
    <section class="inspector" aria-label={`Parameter ${parameter.name}`}>
      <div class="said">
        <h3>{parameter.name}</h3>
        <p>{parameter.meaning}</p>
      </div>
      <div class="exact">
        {parameter.choices.length === 0 && (
          <>
            <button aria-label="Less" onClick={by(-STEP)} disabled={viewing}>
              {"\u2212"}
            </button>
            <button class="fine" aria-label="A little less" onClick={by(-FINE)} disabled={viewing}>
              {"\u2212"}
            </button>
            <input
              type="number"
              aria-label={`Level of ${parameter.name}`}
              step="any"
              min={parameter.minimum}
              max={parameter.maximum}
              value={written(parameter, now.value).replace("\u2212", "-")}
              disabled={viewing}
              onChange={({ currentTarget }) => move(parameter, currentTarget.valueAsNumber || 0)}
            />
            <button class="fine" aria-label="A little more" onClick={by(FINE)} disabled={viewing}>
              +
            </button>
            <button aria-label="More" onClick={by(STEP)} disabled={viewing}>
              +
            </button>
          </>
        )}
        <button onClick={() => move(parameter, parameter.default)} disabled={viewing}>
          Default {parameter.choices[parameter.default] ?? written(parameter, parameter.default)}
        </button>
        <button class="learn" onClick={() => learn(parameter)} disabled={viewing}>
          Learn
        </button>
      </div>
      <div class="sources">
        <span class={`mover ${kindOf(mover ?? "")}`}>{mover ? `moved by ${mover}` : "at rest"}</span>
        <span class="wins">{WINS[parameter.wins] ?? parameter.wins}</span>
        {routes.map((route) => (
          <button key={route.index} onClick={() => openRoute(route)}>
            {String(route["from"])}
          </button>
        ))}
      </div>
    </section>
  )
}

const curve = signal("linear")

/** Learning: move a knob, choose the curve, done. */
function Learning() {
  const found = learned.value
  const add = async (from: string, to: string) => {
    const value = { from, to, ...(curve.value === "linear" ? {} : { curve: curve.value }) }
    if (await ask({ do: "edit", table: "route", index: null, value, was: null })) unlearn()
  }
  return (
    <section class="inspector learning" aria-label="Learn" role="status">
      <div class="said">
        <h3>{found ? `${found.address}` : `Learning ${learning}`}</h3>
        <p>
          {found
            ? `moved, and is to move ${found.parameter}. Choose its curve.`
            : "Move a knob, a fader, a pad or a sensor."}
        </p>
      </div>
      <div class="exact">
        {found && (
          <>
            <Segments
              name="Curve"
              options={show.value?.curves.filter((name) => name !== "table") ?? []}
              chosen={curve.value}
              onChoose={(name) => (curve.value = name)}
            />
            <button class="learn" onClick={() => void add(found.address, found.parameter)}>
              Patch it
            </button>
          </>
        )}
        <button onClick={unlearn}>Cancel</button>
      </div>
    </section>
  )
}
