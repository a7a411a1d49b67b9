// The live picture, small; a tap turns it off and on.
import { signal, useSignalEffect } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { ask, connection, frame, state } from "./board"

const FPS = 12
const running = signal(true)

export function Preview() {
  const canvas = useRef<HTMLCanvasElement>(null)
  useSignalEffect(() => {
    const jpeg = frame.value
    if (jpeg) void draw(canvas.current, jpeg)
  })
  useSignalEffect(() => {
    if (connection.value === "live") want(running.value)
  })
  useEffect(() => {
    const turn = () => want(running.value && document.visibilityState === "visible")
    document.addEventListener("visibilitychange", turn)
    return () => {
      document.removeEventListener("visibilitychange", turn)
      want(false)
    }
  }, [])
  const dark = (state.value?.dark ?? 0) > 0
  return (
    <button
      class="preview"
      aria-label="Live preview"
      aria-pressed={running}
      onClick={() => (running.value = !running.value)}
    >
      <canvas ref={canvas} width={640} height={360} />
      {(dark || !running.value) && (
        <span class="veil">{dark ? "Blackout" : "Preview off: tap to see the picture"}</span>
      )}
    </button>
  )
}

function want(on: boolean): void {
  if (connection.peek() === "live") void ask({ do: "preview", on, fps: FPS })
}

async function draw(canvas: HTMLCanvasElement | null, jpeg: ArrayBuffer): Promise<void> {
  const picture = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" })).catch(() => null)
  if (!picture || !canvas) return
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width
    canvas.height = picture.height
  }
  canvas.getContext("2d")?.drawImage(picture, 0, 0)
  picture.close()
}
