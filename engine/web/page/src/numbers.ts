// Levels as text, as places on a rail, and in steps.
import type { Parameter } from "./wire"

export const COARSE = 1 / 10 // shares of a parameter's span
export const STEP = 1 / 100
export const FINE = 1 / 1000

export function span(parameter: Parameter): number {
  return parameter.maximum - parameter.minimum || 1
}

/** A level with as many decimals as its span deserves: two for 0 to 1, none for 0 to 127. */
export function written(parameter: Parameter, level: number): string {
  const decimals = 2 - Math.floor(Math.log10(span(parameter)) + 1e-9)
  return plain(level.toFixed(Math.min(Math.max(decimals, 0), 4)))
}

/** A number as short as it may be, with a true minus sign. */
export function plain(number: number | string): string {
  return String(number)
    .replace(/^-(?=0(\.0*)?$)/, "")
    .replace("-", "\u2212")
}

/** Where a level lies on its rail, 0 to 1. */
export function place(parameter: Parameter, level: number): number {
  return Math.min(Math.max((level - parameter.minimum) / span(parameter), 0), 1)
}

export function clock(seconds: number): string {
  const whole = Math.floor(seconds)
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`
}

/** A pattern of source addresses (*, ?, [0-4]) as a regular expression. */
export function pattern(text: string): RegExp {
  const source = text
    .replace(/[.+^${}()|\\]/g, "\\$&")
    .replace(/\*/g, ".*")
    .replace(/\?/g, ".")
    .replace(/\[!/g, "[^")
  try {
    return new RegExp(`^${source}$`)
  } catch {
    return /^$/ // an open bracket: no pattern yet
  }
}
