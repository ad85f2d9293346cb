"""The workbench: a web page on Gradio that shows the mask before the edit is paid for, and keeps every version.

It uses only the public API (`Editor`, `Session` and what they return). Imports run downwards:

- `server` puts everything together and listens.
- `page` is what people see and use; `api` is the same work for programs, and the routes of uploads and downloads.
  Neither knows the other.
- `workbench` opens, finds, cuts, paints and restores, without a page. Beside it `gate` stands in front: the guard of
  every request, uploaded files, the queue.
- `state` is what is held: visitors, their pictures and versions, their requests, the models and the one thread they
  run in.
- `options` is what the operator decides.
"""
