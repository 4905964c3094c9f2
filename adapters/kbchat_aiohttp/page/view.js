// How the page makes elements: Preact, written as templates.

import { Component, h, render } from "./vendor/preact.js";
import htm from "./vendor/htm.js";

export { useCallback, useEffect, useRef, useState } from "./vendor/hooks.js";
export { Component, render };
export const html = htm.bind(h);
