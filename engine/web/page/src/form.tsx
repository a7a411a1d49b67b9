// A form made from the schema of a table of the show file, so that every key that the file may have is here.
import type { JSX } from "preact"
import { useId } from "preact/hooks"
import { byName, show, state } from "./board"
import { Segments } from "./fader"
import type { Schema, Table, TableName } from "./wire"

const FEW = 5 // so many choices stand side by side; more go into a list
const DEFINITIONS: { [table in TableName]: string } = {
  route: "Route",
  cue: "Cue",
  preset: "Preset",
  modulator: "Modulator",
  sensor: "Sensor",
}

/** The schema of a table. */
export function definition(table: TableName): Schema {
  return show.value?.schema.$defs?.[DEFINITIONS[table]] ?? {}
}

/** What a key may be: its branches without null, each reference followed. */
function branches(schema: Schema): Schema[] {
  if (schema.$ref) return branches(show.value?.schema.$defs?.[schema.$ref.split("/").pop() ?? ""] ?? {})
  if (schema.anyOf) return schema.anyOf.flatMap(branches)
  return schema.type === "null" ? [] : [schema]
}

/** The choices of a key, where it has no other kind of value. */
function choicesOf(kinds: Schema[]): unknown[] {
  const each = kinds.map((kind) => kind.enum ?? (kind.const === undefined ? null : [kind.const]))
  return each.every((some) => some !== null) ? each.flat() : []
}

/** What fits where only a text is asked for, by the key's name. */
function suggestions(key: string): string[] {
  if (key === "to") return [...byName.value.keys()]
  if (key === "from") return state.value?.inputs.map(([address]) => address).sort() ?? []
  if (key === "generator") return show.value?.generators ?? []
  return []
}

interface FieldsProps {
  schema: Schema
  value: Table
  onChange(value: Table): void
}

export function Fields({ schema, value, onChange }: FieldsProps) {
  const set = (key: string, to: unknown) => {
    const { [key]: _, ...rest } = value
    onChange(to === undefined ? rest : { ...value, [key]: to })
  }
  return (
    <div class="fields">
      {Object.entries(schema.properties ?? {}).map(([key, each]) => (
        <Field
          key={key}
          name={key}
          schema={each}
          required={schema.required?.includes(key) ?? false}
          value={value[key]}
          onChange={(to) => set(key, to)}
        />
      ))}
    </div>
  )
}

interface EntryProps {
  name: string
  kinds: Schema[]
  fallback: unknown // what holds where the file says nothing
  required: boolean
  value: unknown
  onChange(value: unknown): void // undefined: the key leaves the file
}

interface FieldProps extends Omit<EntryProps, "kinds" | "fallback"> {
  schema: Schema
}

function Field({ schema, ...props }: FieldProps) {
  const kinds = branches(schema)
  const told = schema.description ?? kinds.find((kind) => kind.description)?.description
  const Entry = entryFor(kinds)
  return (
    <div class="field">
      <span class="key">{props.name}</span>
      <Entry {...props} kinds={kinds} fallback={schema.default ?? undefined} />
      {told && <span class="told">{told}</span>}
    </div>
  )
}

function entryFor(kinds: Schema[]): (props: EntryProps) => JSX.Element {
  if (choicesOf(kinds).length) return Choices
  const [only, ...others] = kinds
  if (!only || others.length) return Words
  const inner = only.items ?? only.prefixItems?.[0]
  if (only.type === "array") return inner && branches(inner)[0]?.type === "array" ? Nested : Numbers
  return ENTRIES[only.type ?? ""] ?? Words
}

const ENTRIES: { [type: string]: (props: EntryProps) => JSX.Element } = {
  boolean: Switch,
  number: Figure,
  integer: Figure,
  object: Rows,
}

function Choices({ name, kinds, fallback, required, value, onChange }: EntryProps) {
  const values = choicesOf(kinds)
  const choices = values.map(String)
  const chosen = String(value ?? fallback ?? "")
  const choose = (to: string) => {
    const found = values[choices.indexOf(to)]
    onChange(found === fallback ? undefined : found)
  }
  const optional = fallback === undefined && !required
  if (choices.length <= FEW && !optional) {
    return <Segments name={name} options={choices} chosen={chosen} onChoose={choose} />
  }
  return (
    <select aria-label={name} value={chosen} onChange={({ currentTarget }) => choose(currentTarget.value)}>
      {optional && <option value="">none</option>}
      {choices.map((choice) => (
        <option key={choice}>{choice}</option>
      ))}
    </select>
  )
}

function Switch({ name, fallback, value, onChange }: EntryProps) {
  const resting = fallback === true
  const choose = (to: string) => onChange((to === "on") === resting ? undefined : to === "on")
  return (
    <Segments
      name={name}
      options={["off", "on"]}
      chosen={(value ?? resting) ? "on" : "off"}
      onChoose={choose}
    />
  )
}

function Figure({ name, kinds, fallback, required, value, onChange }: EntryProps) {
  return (
    <input
      type="number"
      aria-label={name}
      step={kinds[0]?.type === "integer" ? 1 : "any"}
      min={kinds[0]?.minimum ?? kinds[0]?.exclusiveMinimum}
      max={kinds[0]?.maximum}
      required={required}
      placeholder={String(fallback ?? "none")}
      value={String(value ?? "")}
      onInput={({ currentTarget }) => {
        onChange(currentTarget.value === "" ? undefined : currentTarget.valueAsNumber)
      }}
    />
  )
}

/** Numbers side by side, as in 0, 0.9. What is no number goes as it is: the show's check speaks about it. */
function Numbers({ name, fallback, value, onChange }: EntryProps) {
  const read = (text: string) =>
    text
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(numberOrText)
  return (
    <input
      type="text"
      aria-label={name}
      placeholder={Array.isArray(fallback) && fallback.length ? fallback.join(", ") : "none"}
      value={Array.isArray(value) ? value.join(", ") : ""}
      onChange={({ currentTarget }) =>
        onChange(currentTarget.value.trim() ? read(currentTarget.value) : undefined)
      }
    />
  )
}

/** Lists of lists, as in [[0, 0], [1, 1]]. */
function Nested({ name, value, onChange }: EntryProps) {
  const read = (text: string) => {
    try {
      return JSON.parse(text) as unknown
    } catch {
      return text
    }
  }
  return (
    <input
      type="text"
      aria-label={name}
      placeholder="[[0, 0], [1, 1]]"
      value={value === undefined ? "" : typeof value === "string" ? value : JSON.stringify(value)}
      onChange={({ currentTarget }) => onChange(currentTarget.value ? read(currentTarget.value) : undefined)}
    />
  )
}

function Words({ name, kinds, fallback, required, value, onChange }: EntryProps) {
  const numeric = kinds.some((kind) => kind.type === "number" || kind.type === "integer")
  const read = numeric ? numberOrText : (text: string) => text
  const offered = suggestions(name)
  const list = useId()
  return (
    <>
      <input
        type="text"
        aria-label={name}
        required={required}
        placeholder={String(fallback ?? "")}
        list={offered.length ? list : undefined}
        value={String(value ?? "")}
        onChange={({ currentTarget }) =>
          onChange(currentTarget.value ? read(currentTarget.value) : undefined)
        }
      />
      {offered.length > 0 && (
        <datalist id={list}>
          {offered.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </>
  )
}

function numberOrText(text: string): number | string {
  return text.trim() === "" || Number.isNaN(Number(text)) ? text : Number(text)
}

/** Levels, or fades: a row for each parameter that is named. */
function Rows({ name, kinds, value, onChange }: EntryProps) {
  const rows = (value ?? {}) as Table
  const inner = branches((kinds[0]?.additionalProperties ?? {}) as Schema)[0]
  const free = [...byName.value.keys()].filter((each) => !(each in rows))
  const put = (key: string, to: unknown) => onChange({ ...rows, [key]: to })
  const without = (key: string) => {
    const left = Object.entries(rows).filter(([each]) => each !== key)
    onChange(left.length ? Object.fromEntries(left) : undefined)
  }
  const add = (key: string) => {
    const parameter = show.value?.parameters[byName.value.get(key) ?? -1]
    if (parameter) put(key, inner?.properties ? {} : parameter.default)
  }
  return (
    <div class="rows" role="group" aria-label={name}>
      {Object.entries(rows).map(([key, each]) => (
        <div class="row" key={key}>
          <span class="key">{key}</span>
          {inner?.properties ? (
            <Fields schema={inner} value={each as Table} onChange={(to) => put(key, to)} />
          ) : (
            <input
              type="text"
              inputMode="decimal"
              aria-label={`Level of ${key}`}
              value={String(each)}
              onChange={({ currentTarget }) => put(key, numberOrText(currentTarget.value))}
            />
          )}
          <button type="button" aria-label={`Leave ${key} out`} onClick={() => without(key)}>
            {"\u00d7"}
          </button>
        </div>
      ))}
      <select
        aria-label={`Add to ${name}`}
        value=""
        onChange={({ currentTarget }) => add(currentTarget.value)}
      >
        <option value="">Add {"\u2026"}</option>
        {free.map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
    </div>
  )
}
