"""How Sphinx builds the documentation: `make docs`."""

from importlib import metadata

project = "smtp_proto"
author = "smtp_proto contributors"
copyright = author
release = metadata.version("smtp-proto")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
exclude_patterns = ["_build"]

# A link that leads nowhere ends the build, as all warnings do.
nitpicky = True

# `:::` for tabs and notes: what stands in them stays Markdown for every other reader.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"smtp_proto {release}"
html_static_path = ["_static"]
html_css_files = ["own.css"]
html_copy_source = False
# Only the code goes along: no prompt, no output.
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
