// Opens the page.
import { render } from "preact"
import { Page } from "./page"

// The token has become a cookie: it is not to stay where a photograph of the screen would show it.
if (location.search) history.replaceState(null, "", location.pathname)

render(<Page />, document.body)
