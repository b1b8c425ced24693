"""The manuals of overlayctl's verbs, by task; read only when somebody asks for help."""
