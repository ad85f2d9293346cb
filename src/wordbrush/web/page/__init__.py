"""The page: its controls and components, what they show, and what happens when somebody uses them."""
