// The socket to the show's server: requests and their answers, and a new try after each loss.
import type { Answer, Request, Told } from "./wire"

const FIRST_WAIT_MS = 250
const LONGEST_WAIT_MS = 2000
const PING_MS = 2000
const SILENCE_MS = 5000 // a server that says nothing for so long is as good as gone
const SET_MS = 1000 / 60 // the server takes so many levels of a parameter and no more

export interface Hearing {
  joined(): void
  lost(): void
  barred(): void
  wrong(words: string): void
  told(message: Exclude<Told, Answer>): void
  frame(jpeg: ArrayBuffer): void
}

export class Link {
  private socket: WebSocket | null = null
  private asked = new Map<number, (answer: Answer) => void>()
  private wanted = new Map<string, number>() // levels that wait for their turn
  private flushing = 0
  private id = 0
  private wait_ms = FIRST_WAIT_MS
  private heard_ms = 0

  constructor(private hearing: Hearing) {
    setInterval(() => this.watch(), PING_MS)
    this.open()
  }

  /** Send a request; the promise fails with the server's own words. */
  ask(request: Request): Promise<void> {
    const { socket } = this
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Error("the show is out of reach"))
    const id = ++this.id
    socket.send(JSON.stringify({ id, ...request }))
    return new Promise((done, fail) => {
      this.asked.set(id, ({ error }) => (error === undefined ? done() : fail(new Error(error))))
    })
  }

  /**
   * Set a level. A finger moves more often than the server takes levels, so the first move leaves at once
   * and of those after it only the latest, one in each sixtieth of a second.
   */
  set(parameter: string, value: number): void {
    this.wanted.set(parameter, value)
    if (!this.flushing) this.flush()
  }

  private flush(): void {
    for (const [parameter, value] of this.wanted)
      this.ask({ do: "set", parameter, value }).catch(() => undefined)
    const any = this.wanted.size > 0
    this.wanted.clear()
    this.flushing = any ? window.setTimeout(() => this.flush(), SET_MS) : 0
  }

  private open(): void {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/live`)
    socket.binaryType = "arraybuffer"
    socket.onopen = () => {
      this.wait_ms = FIRST_WAIT_MS
      this.heard_ms = performance.now()
      this.hearing.joined()
    }
    socket.onmessage = ({ data }) => this.hear(data)
    socket.onclose = () => this.lose(socket)
    this.socket = socket
  }

  private hear(data: string | ArrayBuffer): void {
    this.heard_ms = performance.now()
    if (typeof data !== "string") return this.hearing.frame(data)
    const message = JSON.parse(data) as Told
    if (message.type !== undefined) return this.hearing.told(message)
    const answer = this.asked.get(message.id ?? -1)
    if (message.id !== null) this.asked.delete(message.id)
    if (answer) answer(message)
    else if (message.error) this.hearing.wrong(message.error)
  }

  private lose(socket: WebSocket): void {
    if (socket !== this.socket) return
    this.socket = null
    for (const [id, answer] of this.asked) answer({ id, error: "the connection broke before the answer" })
    this.asked.clear()
    this.hearing.lost()
    setTimeout(() => this.open(), this.wait_ms)
    this.wait_ms = Math.min(2 * this.wait_ms, LONGEST_WAIT_MS)
    void this.askWhetherBarred()
  }

  /** A socket does not say why it was refused; a page does. A show that began anew has another token. */
  private async askWhetherBarred(): Promise<void> {
    const answer = await fetch("/icon.svg", { cache: "no-store" }).catch(() => null)
    if (answer?.status === 401) this.hearing.barred()
  }

  /** A cable that was pulled closes no socket: ask from time to time, and give up on one that is silent. */
  private watch(): void {
    const { socket } = this
    if (socket?.readyState !== WebSocket.OPEN) return
    if (performance.now() - this.heard_ms > SILENCE_MS) {
      socket.close()
      this.lose(socket)
    } else {
      this.ask({ do: "ping" }).catch(() => undefined)
    }
  }
}
