# One JSON string a line in, what Jekyll makes of it (Liquid, then kramdown) a line out.
require 'json'
require 'kramdown'
require 'kramdown-parser-gfm'
require 'liquid'

OPTIONS = { input: 'GFM', hard_wrap: false, auto_ids: true, entity_output: 'as_char',
            syntax_highlighter: nil, smart_quotes: 'lsquo,rsquo,ldquo,rdquo' }.freeze
STDOUT.sync = true
STDIN.each_line do |line|
  text = Liquid::Template.parse(JSON.parse(line)).render
  puts JSON.generate(Kramdown::Document.new(text, OPTIONS).to_html)
end
