// What the musician has planned, as a small piano roll.
import { useEffect, useRef } from "preact/hooks"
import { state } from "./board"

const BEHIND_BEATS = 1
const AHEAD_BEATS = 8
const APART_MS = 25 // two drawings: every other frame of a 60 Hz screen is smooth enough
const LEAST_SPAN = 12 // semitones, so that two notes do not fill the roll
const GRID = "#2b2f33"
const NOW = "#a3aab0"
const NOTE = "#e3bd78"

/**
 * The roll runs from right to left under a line that is now. Notes that can no longer change are filled, the
 * rest of the plan is outlined. The server tells the beat ten times a second; between two of its words the
 * roll goes on at the tempo.
 */
export function Roll() {
  const canvas = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const still = matchMedia("(prefers-reduced-motion: reduce)")
    let told = state.peek()
    let told_ms = 0
    let drawn_ms = 0
    let request = 0
    const unsubscribe = state.subscribe((next) => {
      told = next
      told_ms = performance.now()
    })
    const turn = (now_ms: number) => {
      request = requestAnimationFrame(turn)
      if (now_ms - drawn_ms < APART_MS) return
      drawn_ms = now_ms
      const beats = told && !still.matches ? (Math.max(now_ms - told_ms, 0) / 60000) * told.bpm : 0
      if (told && canvas.current) draw(canvas.current, told.beat + beats, told.musician.notes)
    }
    request = requestAnimationFrame(turn)
    return () => {
      unsubscribe()
      cancelAnimationFrame(request)
    }
  }, [])
  const planned = state.value?.musician.notes.length ?? 0
  return (
    <section class="roll" aria-label="Musician">
      <h2>Musician</h2>
      <canvas ref={canvas} role="img" aria-label={`The musician has planned ${planned} notes`} />
    </section>
  )
}

function draw(
  canvas: HTMLCanvasElement,
  beat: number,
  notes: [number, number, number, number, number][],
): void {
  const scale = devicePixelRatio
  const { clientWidth: width, clientHeight: height } = canvas
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale)
    canvas.height = Math.round(height * scale)
  }
  const pen = canvas.getContext("2d")
  if (!pen) return
  pen.setTransform(scale, 0, 0, scale, 0, 0)
  pen.clearRect(0, 0, width, height)
  const per_beat = width / (BEHIND_BEATS + AHEAD_BEATS)
  const at = (beats: number) => (beats - beat + BEHIND_BEATS) * per_beat
  pen.fillStyle = GRID
  for (let line = Math.ceil(beat - BEHIND_BEATS); at(line) < width; line++)
    pen.fillRect(at(line), 0, 1, height)
  const pitches = notes.map((note) => note[2])
  const middle = pitches.length ? (Math.min(...pitches) + Math.max(...pitches)) / 2 : 60
  const range = Math.max(LEAST_SPAN, Math.max(...pitches) - Math.min(...pitches) + 2)
  const thick = Math.max(height / range, 3)
  pen.fillStyle = pen.strokeStyle = NOTE
  for (const [start, length, note, velocity, committed] of notes) {
    const top = height / 2 + ((middle - note) / range) * height - thick / 2
    const wide = Math.max(length * per_beat - 1, 2)
    pen.globalAlpha = 0.45 + 0.55 * (velocity > 1 ? velocity / 127 : velocity)
    if (committed) pen.fillRect(at(start), top, wide, thick)
    else pen.strokeRect(at(start) + 0.5, top + 0.5, Math.max(wide - 1, 1), Math.max(thick - 1, 1))
  }
  pen.globalAlpha = 1
  pen.fillStyle = NOW
  pen.fillRect(at(beat), 0, 1, height)
}
