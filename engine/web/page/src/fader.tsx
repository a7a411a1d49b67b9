// The control of one parameter: a fader, or a choice.
import { useComputed } from "@preact/signals"
import { useId, useRef } from "preact/hooks"
import { level, move, movers, viewing } from "./board"
import { COARSE, FINE, place, plain, span, STEP, written } from "./numbers"
import type { Parameter } from "./wire"

const FINE_BELOW_PX = 56 // a finger that has left its fader by so much, up or down, moves it finely
const DOUBLE_TAP_MS = 300
const TAP_PX = 6
const CUE = /^(cue|follow|preset|morph)/ // movers that the show itself brings
const RAIL_SHARE = 0.9 // of a fader's width is its whole span, so that a thumb gets from end to end

interface Props {
  parameter: Parameter
  index: number
  selected: boolean
  onSelect(name: string): void
  onLearn(): void
}

/** Who moves a parameter, as a class: cues, people's inputs, modulators and pages have a colour each. */
export function kindOf(mover: string): string {
  if (CUE.test(mover)) return "by-cue"
  if (mover.startsWith("/modulator")) return "by-modulator"
  if (mover === "web") return "by-page"
  return mover ? "by-input" : "by-none"
}

export function Control(props: Props) {
  return props.parameter.choices.length ? <Choice {...props} /> : <Fader {...props} />
}

/**
 * A fader moves by as much as the finger does, from where it is: it never jumps to the finger, for a level
 * that jumps is seen by the whole room. The whole plate is the handle. Away from it, or with Shift, it moves
 * ten times as finely; a double tap puts the default back.
 */
function Fader({ parameter, index, selected, onSelect, onLearn }: Props) {
  const now = level(index)
  const mover = useComputed(() => movers.value.get(index) ?? "")
  const drag = useRef({ x: 0, y: 0, from: 0, moved: 0, tapped_ms: -DOUBLE_TAP_MS })

  const down = (event: PointerEvent) => {
    const plate = event.currentTarget as HTMLElement
    if (event.button || viewing.value) return
    plate.setPointerCapture(event.pointerId)
    Object.assign(drag.current, { x: event.clientX, y: event.clientY, from: now.peek(), moved: 0 })
  }
  const pull = (event: PointerEvent) => {
    const plate = event.currentTarget as HTMLElement
    if (!plate.hasPointerCapture(event.pointerId)) return
    const { current } = drag
    const by = event.clientX - current.x
    current.x = event.clientX
    current.moved += Math.abs(by)
    if (current.moved < TAP_PX) return
    const fine = event.shiftKey || Math.abs(event.clientY - current.y) > FINE_BELOW_PX
    current.from += ((by / (plate.clientWidth * RAIL_SHARE)) * span(parameter)) / (fine ? 10 : 1)
    current.from = Math.min(Math.max(current.from, parameter.minimum), parameter.maximum)
    move(parameter, current.from)
  }
  const up = (event: PointerEvent) => {
    const { current } = drag
    if (current.moved >= TAP_PX) return
    const twice = event.timeStamp - current.tapped_ms < DOUBLE_TAP_MS
    current.tapped_ms = twice ? -DOUBLE_TAP_MS : event.timeStamp
    if (twice) move(parameter, parameter.default)
  }
  const key = (event: KeyboardEvent) => {
    const step = span(parameter) * (event.shiftKey ? FINE : STEP)
    const to: { [key: string]: number } = {
      ArrowRight: now.peek() + step,
      ArrowUp: now.peek() + step,
      ArrowLeft: now.peek() - step,
      ArrowDown: now.peek() - step,
      PageUp: now.peek() + span(parameter) * COARSE,
      PageDown: now.peek() - span(parameter) * COARSE,
      Home: parameter.minimum,
      End: parameter.maximum,
      Delete: parameter.default,
    }
    const value = to[event.key]
    if (value !== undefined) move(parameter, value)
    else if (event.key === "l") onLearn()
    else return
    event.preventDefault()
  }

  const zero = place(parameter, parameter.minimum < 0 ? 0 : parameter.minimum)
  const at = place(parameter, now.value)
  return (
    <div
      class={`plate fader ${kindOf(mover.value)}${selected ? " selected" : ""}`}
      role="slider"
      tabIndex={0}
      aria-label={parameter.name}
      aria-description={parameter.meaning}
      aria-valuemin={parameter.minimum}
      aria-valuemax={parameter.maximum}
      aria-valuenow={Number(now.value.toFixed(4))}
      aria-valuetext={`${written(parameter, now.value)} ${parameter.unit}`.trim()}
      aria-disabled={viewing.value}
      onPointerDown={down}
      onPointerMove={pull}
      onPointerUp={up}
      onFocus={() => onSelect(parameter.name)}
      onKeyDown={key}
    >
      <span class="name">{parameter.name}</span>
      <span class="value">{written(parameter, now.value)}</span>
      <span class="rail">
        <span
          class="fill"
          style={{ left: percent(Math.min(zero, at)), width: percent(Math.abs(at - zero)) }}
        />
        <span class="default" style={{ left: percent(place(parameter, parameter.default)) }} />
        <span class="handle" style={{ left: percent(at) }} />
      </span>
      <span class="mover">{mover.value || "\u00a0"}</span>
      <span class="unit">{parameter.unit}</span>
    </div>
  )
}

function Choice({ parameter, index, selected, onSelect }: Props) {
  const now = level(index)
  const mover = useComputed(() => movers.value.get(index) ?? "")
  return (
    <fieldset
      class={`plate choice ${kindOf(mover.value)}${selected ? " selected" : ""}`}
      disabled={viewing.value}
      onFocusCapture={() => onSelect(parameter.name)}
    >
      <legend>
        <span class="name">{parameter.name}</span> <span class="mover">{mover.value}</span>
      </legend>
      <Segments
        name={parameter.name}
        options={parameter.choices}
        chosen={parameter.choices[Math.round(now.value)]}
        onChoose={(choice) => move(parameter, parameter.choices.indexOf(choice))}
      />
    </fieldset>
  )
}

interface SegmentsProps {
  name: string
  options: readonly string[]
  chosen: string | undefined
  onChoose(option: string): void
}

export function Segments({ name, options, chosen, onChoose }: SegmentsProps) {
  const group = useId()
  return (
    <div class="segments" role="radiogroup" aria-label={name}>
      {options.map((option) => (
        <label key={option}>
          <input type="radio" name={group} checked={option === chosen} onChange={() => onChoose(option)} />
          <span>{option}</span>
        </label>
      ))}
    </div>
  )
}

function percent(share: number): string {
  return `${plain((share * 100).toFixed(2))}%`
}
