// The sheet on which one table of the show file is edited.
import { signal } from "@preact/signals"
import { useEffect, useRef } from "preact/hooks"
import { show, tryTo, viewing } from "./board"
import { definition, Fields } from "./form"
import type { Entry, Table, TableName } from "./wire"

interface Sheet {
  table: TableName
  index: number | null // null: a table to be added
  was: Table | null // as it stood when the sheet was opened
  value: Table
}

const sheet = signal<Sheet | null>(null)
const fault = signal("")
const sure = signal(false) // whether Remove was pressed once

/** Open the sheet of an entry, or of one to be added, which begins with the keys of `seed`. */
export function edit(table: TableName, entry: Entry | null, seed: Table = {}): void {
  const { index, ...value } = entry ?? { index: null, ...seed }
  fault.value = ""
  sure.value = false
  sheet.value = { table, index, was: entry && value, value }
}

export function Sheet() {
  const dialog = useRef<HTMLDialogElement>(null)
  const { value: open } = sheet
  const isOpen = open !== null
  useEffect(() => {
    if (isOpen) dialog.current?.showModal()
    else dialog.current?.close()
  }, [isOpen])
  const close = () => (sheet.value = null)
  const send = async (value: Table | null) => {
    if (!open) return
    const { table, index, was } = open
    fault.value = await tryTo({ do: "edit", table, index, value, was })
    if (!fault.value) close()
  }
  const title = open && (open.index === null ? `A new ${open.table}` : `The ${open.table} ${nameOf(open)}`)
  return (
    <dialog ref={dialog} class="sheet" aria-label={title ?? "Sheet"} onClose={close}>
      {open && (
        <form
          method="dialog"
          onSubmit={(event) => {
            event.preventDefault()
            void send(open.value)
          }}
        >
          <h2>{title}</h2>
          <Fields
            schema={definition(open.table)}
            value={open.value}
            onChange={(value) => (sheet.value = { ...open, value })}
          />
          <p class="fault" role="alert">
            {fault}
          </p>
          <div class="row">
            <button type="submit" class="primary" disabled={viewing}>
              Save
            </button>
            <button type="button" onClick={close}>
              Cancel
            </button>
            {open.index !== null && (
              <button
                type="button"
                class="remove"
                disabled={viewing}
                onClick={() => (sure.value ? void send(null) : (sure.value = true))}
              >
                {sure.value ? "Remove it from the file" : "Remove"}
              </button>
            )}
          </div>
          <p class="where">Written to {show.value?.show.path}, comments and all.</p>
        </form>
      )}
    </dialog>
  )
}

function nameOf({ value, index }: Sheet): string {
  if (value["to"]) return `to ${String(value["to"])}`
  return String(value["name"] || value["number"] || value["from"] || index)
}
