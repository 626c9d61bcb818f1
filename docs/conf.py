"""How Sphinx builds the documentation: `make docs`."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "smtp_proto"
author = "smtp_proto contributors"
copyright = author
release = metadata.version("smtp-proto")

extensions = [
    "docstrings",
    "figures",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build"]

# A link that leads nowhere ends the build, as all warnings do.
nitpicky = True
# Others have their own documentation; nothing is fetched to look at it.
nitpick_ignore_regex = [("py:.*", r"(collections|email|enum|hypothesis|os|pathlib|ssl|trio|typing)\..*")]

# What belongs to nobody but its module: variables for types, and shapes that an argument may have.
nitpick_ignore_regex += [
    ("py:.*", r"(.*\.)?(_[A-Z]\w*|Connect(ing)?|ParameterValue|(Async)?(Readable|Stream))")
]

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "ends_group,keyword,verb",
    "inherited-members": (
        "BaseException,Collector,Command,Enum,Exception,Fault,FrozenMapping,Generic,Handler,OSError,Protocol,"
        "Reply,RuleBasedStateMachine,dict,int,str,tuple"
    ),
}
# These have an entry of their own, or are better read whole.
autodoc_type_aliases = {
    name: name for name in ("AsyncBody", "Body", "Op", "Question", "Send", "Timeouts", "Transfer")
}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

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
