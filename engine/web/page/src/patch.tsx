// The patch: which source moves which parameter, and how.
import { computed } from "@preact/signals"
import { byName, level, movers, show, state, viewing } from "./board"
import { kindOf } from "./fader"
import { pattern, plain, written } from "./numbers"
import { edit } from "./sheet"
import type { Entry } from "./wire"

const ROUTE_COLUMNS = ["index", "from", "to", "curve", "range"]
const SENSOR_COLUMNS = ["index", "from"]

/** The map that a route comes from, where it is none of the file's. */
function mapOf(route: Entry): string | undefined {
  const isOwn = route.index < (show.value?.own_routes ?? 0)
  return isOwn ? undefined : String(route["from"]).split("/")[2]
}

/** Open the sheet of a route; in place of one of a controller's map the file gets one of its own. */
export function openRoute(route: Entry): void {
  if (mapOf(route) === undefined) return edit("route", route)
  const { index: _, ...seed } = route
  edit("route", null, seed)
}

export function Patch() {
  const routes = show.value?.routes ?? []
  return (
    <div class="patch">
      <table>
        <thead>
          <tr>
            <th scope="col">Source</th>
            <th scope="col">Parameter</th>
            <th scope="col">Curve</th>
            <th scope="col">Range</th>
            <th scope="col">More</th>
          </tr>
        </thead>
        <tbody>
          {routes.map((route) => (
            <Route key={route.index} route={route} />
          ))}
        </tbody>
      </table>
      {routes.length === 0 && (
        <p class="empty">No route yet. Choose a parameter and press Learn, or add one here.</p>
      )}
      <div class="row">
        <button disabled={viewing} onClick={() => edit("route", null)}>
          Add a route
        </button>
      </div>
      <Sensors />
    </div>
  )
}

/** What is done to the values of sensors before any route hears them. */
function Sensors() {
  const sensors = show.value?.sensors ?? []
  return (
    <section class="sensors" aria-label="Sensors">
      <h2>Sensors</h2>
      {sensors.length > 0 && (
        <table>
          <thead>
            <tr>
              <th scope="col">Source</th>
              <th scope="col">Cleaned by</th>
            </tr>
          </thead>
          <tbody>
            {sensors.map((sensor) => (
              <tr key={sensor.index}>
                <td>
                  <button class="link" onClick={() => edit("sensor", sensor)}>
                    {String(sensor["from"])}
                  </button>
                </td>
                <td class="more">{beside(sensor, SENSOR_COLUMNS)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <div class="row">
        <button disabled={viewing} onClick={() => edit("sensor", null)}>
          Add a sensor
        </button>
      </div>
    </section>
  )
}

/** The keys of a table that have no column of their own, in words. */
function beside(entry: Entry, columns: string[]): string {
  const more = Object.entries(entry).filter(([key]) => !columns.includes(key))
  return more.map(([key, value]) => `${key} ${shortly(value)}`).join(", ")
}

const latest = computed(() => new Map(state.value?.inputs.map(([address, value]) => [address, value])))

function Route({ route }: { route: Entry }) {
  const from = String(route["from"])
  const to = String(route["to"])
  const index = byName.value.get(to) ?? -1
  const parameter = show.value?.parameters[index]
  const matches = pattern(from)
  const live = [...latest.value].find(([address]) => matches.test(address))
  const mover = movers.value.get(index) ?? ""
  const range = route["range"]
  return (
    <tr>
      <td>
        <button class="link" onClick={() => openRoute(route)}>
          {from}
        </button>
        {live && <Bar share={live[1]} />}
      </td>
      <td class={mover && matches.test(mover) ? kindOf(mover) : ""}>
        {to} <output>{parameter && written(parameter, level(index).value)}</output>
      </td>
      <td>
        <Curve name={String(route["curve"] ?? "linear")} />
      </td>
      <td class="figures">
        {Array.isArray(range) ? range.map((each) => plain(String(each))).join(" to ") : ""}
      </td>
      <td class="more">
        {[mapOf(route) && `of the map ${mapOf(route)}`, beside(route, ROUTE_COLUMNS)]
          .filter(Boolean)
          .join(", ")}
      </td>
    </tr>
  )
}

function shortly(value: unknown): string {
  return typeof value === "object" ? JSON.stringify(value) : plain(String(value))
}

/** A value from 0 to 1 as a short bar. */
export function Bar({ share }: { share: number }) {
  const width = `${Math.min(Math.max(share, 0), 1) * 100}%`
  return (
    <span class="bar">
      <span style={{ width }} />
    </span>
  )
}

const SHAPES: { [curve: string]: string } = {
  linear: "M1 15L23 1",
  exponential: "M1 15Q18 15 23 1",
  s: "M1 15C12 15 12 1 23 1",
  table: "M1 15L8 12L14 5L23 1",
}

function Curve({ name }: { name: string }) {
  return (
    <span class="curve">
      <svg viewBox="0 0 24 16" width="24" height="16" aria-hidden="true">
        <path d={SHAPES[name] ?? SHAPES["linear"]!} />
      </svg>
      {name}
    </span>
  )
}
