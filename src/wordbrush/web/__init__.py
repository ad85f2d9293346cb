"""The workbench: a web page on Gradio that shows the mask before the edit is paid for, and keeps every version.

It uses only the public API (`Editor`, `Session` and what they return). `options` says what an operator allows,
`visitors` keeps what each visitor has, `bench` does the work without knowing of pages, `page` lays it out, `api` gives
the same as typed HTTP calls, `guard` stands in front of every request, and `server` puts them together.
"""
