// A form made from the schema of a table of the show file, so that every key that the file may have is here.
import { byName, show, state } from "./board"
import { Segments } from "./fader"
import type { Schema, Table, TableName } from "./wire"

const FEW = 5 // so many choices stand side by side; more go into a list
const DEFINITIONS: { [table in TableName]: string } = {
  route: "Route",
  cue: "Cue",
  preset: "Preset",
  modulator: "Modulator",
}

/** The schema of a table. */
export function definition(table: TableName): Schema {
  return show.value?.schema.$defs?.[DEFINITIONS[table]] ?? {}
}

/** What a key may be: its branches without null, each with its reference followed. */
function branches(schema: Schema): Schema[] {
  const followed = schema.$ref ? (show.value?.schema.$defs?.[schema.$ref.split("/").pop() ?? ""] ?? {}) : schema
  return (followed.anyOf ?? [followed]).flatMap((each) => (each === schema ? [each] : each.$ref || each.anyOf ? branches(each) : [each]))
    .filter((each) => each.type !== "null")
}

/** The choices of a key, where it has no other kind of value. */
function choicesOf(kinds: Schema[]): string[] {
  const each = kinds.map((kind) => kind.enum ?? (kind.const === undefined ? null : [kind.const]))
  return each.every((some) => some !== null) ? each.flat().map(String) : []
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

interface FieldProps {
  name: string
  schema: Schema
  required: boolean
  value: unknown
  onChange(value: unknown): void // undefined: the key leaves the file
}

function Field({ name, schema, required, value, onChange }: FieldProps) {
  const kinds = branches(schema)
  const props = { name, kinds, schema, required, value, onChange }
  const { description } = schema
  const told = description ?? kinds.find((kind) => kind.description)?.description
  return (
    <div class="field">
      <span class="key" id={`key-${name}`}>{name}</span>
      <Entry {...props} />
      {told && <span class="told">{told}</span>}
    </div>
  )
}

function Entry(props: FieldProps & { kinds: Schema[] }) {
  const { name, kinds, schema, required, value, onChange } = props
  const choices = choicesOf(kinds)
  const type = kinds.length === 1 ? kinds[0]?.type : undefined
  const fallback = schema.default ?? undefined
  if (choices.length > FEW || (choices.length && fallback === undefined && !required)) {
    return (
      <select aria-label={name} value={String(value ?? fallback ?? "")} onChange={({ currentTarget }) => onChange(currentTarget.value || undefined)}>
        {fallback === undefined && <option value="">none</option>}
        {choices.map((choice) => <option key={choice}>{choice}</option>)}
      </select>
    )
  }
  if (choices.length) {
    const chosen = String(value ?? fallback ?? "")
    return <Segments name={name} options={choices} chosen={chosen} onChoose={(to) => onChange(to === fallback ? undefined : to)} />
  }
  if (type === "boolean") {
    const on = (value ?? fallback ?? false) as boolean
    return <Segments name={name} options={["off", "on"]} chosen={on ? "on" : "off"} onChoose={(to) => onChange((to === "on") === (fallback ?? false) ? undefined : to === "on")} />
  }
  if (type === "number" || type === "integer") {
    const low = kinds[0]?.minimum ?? kinds[0]?.exclusiveMinimum
    return (
      <input
        type="number"
        aria-label={name}
        step={type === "integer" ? 1 : "any"}
        required={required}
        min={low}
        max={kinds[0]?.maximum}
        placeholder={fallback === undefined ? "none" : String(fallback)}
        value={value === undefined || value === null ? "" : String(value)}
        onInput={({ currentTarget }) => onChange(currentTarget.value === "" ? undefined : currentTarget.valueAsNumber)}
      />
    )
  }
  if (type === "object") return <LevelRows name={name} value={(value ?? {}) as Table} onChange={onChange} />
  const numbers = type === "array"
  const offered = suggestions(name)
  return (
    <>
      <input
        type="text"
        aria-label={name}
        required={required}
        placeholder={numbers && fallback === undefined ? "the parameter's own" : String(fallback ?? "")}
        list={offered.length ? `offered-${name}` : undefined}
        value={Array.isArray(value) ? value.join(", ") : String(value ?? "")}
        onChange={({ currentTarget }) => onChange(numbers ? listOf(currentTarget.value) : looseOf(currentTarget.value, kinds))}
      />
      {offered.length > 0 && (
        <datalist id={`offered-${name}`}>
          {offered.map((each) => <option key={each} value={each} />)}
        </datalist>
      )}
    </>
  )
}

/** "0, 0.9" as numbers, where they are numbers; the show's check speaks about what else there may be. */
function listOf(text: string): unknown[] | undefined {
  const parts = text.split(/[\s,;]+/).filter(Boolean)
  return parts.length ? parts.map((part) => (Number.isNaN(Number(part)) ? part : Number(part))) : undefined
}

function looseOf(text: string, kinds: Schema[]): unknown {
  if (text === "") return undefined
  const numeric = kinds.some((kind) => kind.type === "number" || kind.type === "integer")
  return numeric && !Number.isNaN(Number(text)) ? Number(text) : text
}

interface RowsProps {
  name: string
  value: Table
  onChange(value: Table): void
}

/** Levels, a row for each parameter that is named. */
function LevelRows({ name, value, onChange }: RowsProps) {
  const free = [...byName.value.keys()].filter((each) => !(each in value))
  const without = (key: string) => {
    const { [key]: _, ...rest } = value
    return rest
  }
  return (
    <div class="rows" role="group" aria-label={name}>
      {Object.entries(value).map(([key, each]) => (
        <div class="row" key={key}>
          <label>
            <span>{key}</span>
            <input
              type="text"
              inputMode="decimal"
              value={String(each)}
              onChange={({ currentTarget }) => onChange({ ...value, [key]: looseOf(currentTarget.value, [{ type: "number" }]) ?? 0 })}
            />
          </label>
          <button type="button" aria-label={`Leave ${key} out`} onClick={() => onChange(without(key))}>{"\u00d7"}</button>
        </div>
      ))}
      <select
        aria-label={`Add to ${name}`}
        value=""
        onChange={({ currentTarget }) => {
          const index = byName.value.get(currentTarget.value)
          const parameter = index === undefined ? undefined : show.value?.parameters[index]
          if (parameter) onChange({ ...value, [parameter.name]: parameter.default })
        }}
      >
        <option value="">Add {"\u2026"}</option>
        {free.map((each) => <option key={each}>{each}</option>)}
      </select>
    </div>
  )
}
