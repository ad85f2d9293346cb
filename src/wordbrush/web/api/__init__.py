"""The workbench for programs: its calls as HTTP endpoints and as MCP tools, and the routes of uploads and downloads."""
