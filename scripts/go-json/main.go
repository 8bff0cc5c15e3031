// Writes what Go's encoding/json makes of JSON that is odd or wrong, for each document that BuildKit reads: the table
// that test/oci/go-json.test.ts compares our reader with.
//
//	GOEXPERIMENT=nojsonv2 go run scripts/go-json/main.go > test/oci/go-json.json
//
// A row is [type, text, value]: each byte of the text is a character (Latin-1), and the value, without its zeros, is false
// where Go refuses the text. The table in the tree was made with Go 1.27.3 of Debian sid. Since 1.27 encoding/json is
// another program by default: it differs in a time with an escape in it, which it reads. Go 1.19 of Debian 12 reads zones
// that do not exist, such as +25:00. We refuse both.
//
// The structs are those of image-spec (specs-go/v1) and of BuildKit (cache/remotecache/v1/types/spec.go,
// cache/remotecache/import.go), with the fields that either of them decodes.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"time"
)

type descriptor struct {
	MediaType    string            `json:"mediaType,omitempty"`
	Digest       string            `json:"digest,omitempty"`
	Size         int64             `json:"size,omitempty"`
	URLs         []string          `json:"urls,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	Data         []byte            `json:"data,omitempty"`
	Platform     *platform         `json:"platform,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
}

type platform struct {
	Architecture string   `json:"architecture,omitempty"`
	OS           string   `json:"os,omitempty"`
	OSVersion    string   `json:"os.version,omitempty"`
	OSFeatures   []string `json:"os.features,omitempty"`
	Variant      string   `json:"variant,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion,omitempty"`
	MediaType     string            `json:"mediaType,omitempty"`
	Config        descriptor        `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers,omitempty"`
	Manifests     []descriptor      `json:"manifests,omitempty"`
	Subject       *descriptor       `json:"subject,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
}

type cacheConfig struct {
	Layers  []cacheLayer  `json:"layers,omitempty"`
	Records []cacheRecord `json:"records,omitempty"`
}

type cacheLayer struct {
	Blob        string            `json:"blob,omitempty"`
	ParentIndex int               `json:"parent,omitempty"`
	Annotations *layerAnnotations `json:"annotations,omitempty"`
}

type layerAnnotations struct {
	MediaType string    `json:"mediaType,omitempty"`
	DiffID    string    `json:"diffID,omitempty"`
	Size      int64     `json:"size,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitempty"`
}

type cacheRecord struct {
	Results []cacheResult   `json:"layers,omitempty"`
	Chains  []chainedResult `json:"chains,omitempty"`
	Digest  string          `json:"digest,omitempty"`
	Inputs  [][]cacheInput  `json:"inputs,omitempty"`
}

type cacheResult struct {
	LayerIndex int       `json:"layer,omitempty"`
	CreatedAt  time.Time `json:"createdAt,omitempty"`
}

type chainedResult struct {
	LayerIndexes []int     `json:"layers,omitempty"`
	CreatedAt    time.Time `json:"createdAt,omitempty"`
}

type cacheInput struct {
	Selector  string `json:"selector,omitempty"`
	LinkIndex int    `json:"link,omitempty"`
}

type image struct {
	Rootfs struct {
		DiffIDs []string `json:"diff_ids,omitempty"`
	} `json:"rootfs,omitempty"`
	Cache   []byte `json:"moby.buildkit.cache.v0,omitempty"`
	History []struct {
		Created    *time.Time `json:"created,omitempty"`
		CreatedBy  string     `json:"created_by,omitempty"`
		EmptyLayer bool       `json:"empty_layer,omitempty"`
	} `json:"history,omitempty"`
}

type marker struct {
	Version string `json:"imageLayoutVersion,omitempty"`
}

// The kind of a manifest, as util/imageutil/config.go finds it out; empty where BuildKit refuses it.
func kindOf(text []byte) string {
	var m struct {
		MediaType *string         `json:"mediaType"`
		Config    json.RawMessage `json:"config"`
		Layers    json.RawMessage `json:"layers"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(text, &m) != nil {
		return ""
	}
	isManifest := m.Config != nil || m.Layers != nil
	isIndexType := m.MediaType != nil && strings.Contains(*m.MediaType, "image.index")
	if isManifest && (m.Manifests != nil || isIndexType) {
		return ""
	}
	if isManifest {
		return "manifest"
	}
	return "index"
}

func outcome(kind string, text []byte) any {
	read := func(value any) any {
		if json.Unmarshal(text, value) != nil {
			return false
		}
		return value
	}
	switch kind {
	case "manifest":
		if kindOf(text) == "" {
			return false
		}
		return read(&manifest{})
	case "index":
		return read(&manifest{})
	case "config":
		return read(&cacheConfig{})
	case "records":
		return read(&[]cacheRecord{})
	case "image":
		return read(&image{})
	default:
		return read(&marker{})
	}
}

// Values to stand in the place of each field.
var values = []string{
	`null`, `true`, `false`, `7`, `-7`, `0`, `-0`, `7.0`, `7e0`, `7e1`, `"7"`, `9007199254740992`, `9223372036854775807`,
	`9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`, `""`, `"x"`, `"x:y"`, `[]`, `{}`, `["x"]`,
	`[7]`, `[null]`, `[255,256]`, `[[]]`, `[{}]`, `{"x":"y"}`, `{"x":null}`, `{"x":7}`, `{"x":{}}`,
}

var encodings = []string{
	`"QQ=="`, `"QR=="`, `"QQ="`, `"QQ"`, `"QUI="`, `"QUJD"`, `"QUJDQQ=="`, `"%%%="`, `"QQ==QQ=="`, `"Q\nQ=="`, `"QQ=\r\n="`, `"QQ==\n"`,
	`" QQ=="`, `"Q-Q="`, `"Q_Q="`, `"===="`, `"="`, `"\u0051Q=="`, `[81,0,255]`, `[-1]`, `[1.0]`,
}

var times = []string{
	`"2026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05.123456789Z"`, `"2026-01-02T03:04:05.1234567899Z"`, `"2026-01-02T03:04:05.120Z"`,
	`"2026-01-02T03:04:05.000Z"`, `"2026-01-02T03:04:05,5Z"`, `"2026-01-02T03:04:05.Z"`, `"2026-01-02T03:04:05+01:30"`,
	`"2026-01-02T03:04:05-01:30"`, `"2026-01-02T03:04:05+00:00"`, `"2026-01-02T03:04:05-00:00"`, `"2026-01-02T03:04:05+01:60"`,
	`"2026-01-02T03:04:05+01:61"`, `"2026-01-02T03:04:05+24:01x"`, `"2026-01-02T03:04:05+25:00"`, `"2026-01-02T03:04:05+0100"`,
	`"2026-01-02T03:04:05+1:00"`, `"2026-01-02T03:04:05+-1:00"`, `"2026-01-02T03:04:05"`, `"2026-01-02T03:04:05z"`, `"2026-01-02t03:04:05Z"`,
	`"2026-01-02 03:04:05Z"`, `"2026-01-02T3:04:05Z"`, `"2026-01-02T03:4:05Z"`, `"2026-01-02T03:04:5Z"`, `"2026-1-02T03:04:05Z"`,
	`"2026-01-2T03:04:05Z"`, `"2026-02-28T03:04:05Z"`, `"2026-02-29T03:04:05Z"`, `"2024-02-29T03:04:05Z"`, `"2100-02-29T03:04:05Z"`,
	`"2000-02-29T03:04:05Z"`, `"2026-02-30T03:04:05Z"`, `"2026-04-31T03:04:05Z"`, `"2026-12-31T23:59:59Z"`, `"2026-12-32T03:04:05Z"`,
	`"2026-13-01T03:04:05Z"`, `"2026-00-01T03:04:05Z"`, `"2026-01-00T03:04:05Z"`, `"2026-01-02T24:00:00Z"`, `"2026-01-02T03:60:00Z"`,
	`"2026-01-02T03:04:60Z"`, `"0000-01-01T00:00:00Z"`, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`, `"10000-01-01T00:00:00Z"`,
	`"+026-01-02T03:04:05Z"`, `"2026-01-02T03:04:05Z "`, `" 2026-01-02T03:04:05Z"`, `"\u0032026-01-02T03:04:05Z"`, `""`, `"today"`,
	`1767323045`,
}

// Texts for a string.
var strs = []string{
	`"\u00e9"`, "\"\xc3\xa9\"", "\"\xc3\"", "\"\xe2\x82\"", "\"\xe2\x82\xac\"", "\"\xed\xa0\x80\"", "\"\xf0\x9f\x98\x80\"", "\"\xf5\x80\x80\x80\"",
	"\"a\xff\xfeb\"", "\"\xc0\x80\"", `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\ud83dx"`, `"\ud83d\ud83d\ude00"`, `"\uD83D\u0041"`, `"\n\t\"\\\/\b\f\r"`,
	`"\x41"`, `"\u00g0"`, `"\u12"`, "\"\t\"", "\"\n\"", "\"\x00\"", "\"\x7f\"", `"\'"`, `'x'`, `"x`, `"x\"`, "\"\xef\xbb\xbf\"", `"\u0000"`, `"\u2028<>&"`, `"constructor"`,
}

// For each type, documents with a place for a value, and which values to try there beside the common ones.
var places = []struct{ kind, document, extra string }{
	{"index", `{"schemaVersion":@}`, ""}, {"index", `{"mediaType":@}`, "s"}, {"index", `{"manifests":@}`, ""}, {"index", `{"annotations":@}`, ""},
	{"index", `{"subject":@}`, ""}, {"index", `{"artifactType":@}`, ""}, {"index", `{"unknown":@}`, "s"}, {"index", `{"annotations":{"x":@}}`, "s"},
	{"index", `{"subject":{"size":@}}`, ""}, {"index", `{"manifests":[@]}`, ""},
	{"index", `{"manifests":[{"digest":"x:y","mediaType":@}]}`, "s"}, {"index", `{"manifests":[{"digest":"x:y","size":@}]}`, ""},
	{"index", `{"manifests":[{"digest":@}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","urls":@}]}`, ""},
	{"index", `{"manifests":[{"digest":"x:y","annotations":@}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","data":@}]}`, "b"},
	{"index", `{"manifests":[{"digest":"x:y","platform":@}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","artifactType":@}]}`, ""},
	{"index", `{"manifests":[{"digest":"x:y","platform":{"os":@}}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","platform":{"architecture":@}}]}`, ""},
	{"index", `{"manifests":[{"digest":"x:y","platform":{"os.version":@}}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","platform":{"os.features":@}}]}`, ""},
	{"index", `{"manifests":[{"digest":"x:y","platform":{"variant":@}}]}`, ""}, {"index", `{"manifests":[{"digest":"x:y","unknown":@}]}`, ""},
	{"index", `@`, "s"},
	{"manifest", `{"config":{"digest":"x:y"},"layers":@}`, ""}, {"manifest", `{"config":{"digest":"x:y"},"layers":[{"digest":"x:y","size":@}]}`, ""},
	{"manifest", `{"config":{"digest":"x:y"},"manifests":@}`, ""}, {"manifest", `{"config":{"digest":"x:y"},"schemaVersion":@}`, ""},
	{"manifest", `{"config":{"digest":"x:y"},"annotations":@}`, ""}, {"manifest", `{"config":{"digest":"x:y"},"subject":@}`, ""},
	{"config", `@`, ""}, {"config", `{"layers":@}`, ""}, {"config", `{"records":@}`, ""}, {"config", `{"layers":[{"blob":"x:y","parent":@}]}`, ""},
	{"config", `{"layers":[{"blob":@}]}`, ""},
	{"config", `{"layers":[{"blob":"x:y","annotations":@}]}`, ""}, {"config", `{"layers":[{"blob":"x:y","annotations":{"mediaType":@}}]}`, ""},
	{"config", `{"layers":[{"blob":"x:y","annotations":{"size":@}}]}`, ""}, {"config", `{"layers":[{"blob":"x:y","annotations":{"createdAt":@}}]}`, "t"},
	{"config", `{"records":[{"digest":"x:y","layers":@}]}`, ""}, {"config", `{"records":[{"digest":"x:y","chains":@}]}`, ""},
	{"config", `{"records":[{"digest":"x:y","inputs":@}]}`, ""}, {"config", `{"records":[{"digest":"x:y","inputs":[@]}]}`, ""},
	{"config", `{"records":[{"digest":"x:y","inputs":[[{"link":@}]]}]}`, ""}, {"config", `{"records":[{"digest":"x:y","inputs":[[{"selector":@}]]}]}`, "s"},
	{"config", `{"records":[{"digest":"x:y","layers":[{"layer":@}]}]}`, ""}, {"config", `{"records":[{"digest":"x:y","layers":[{"createdAt":@}]}]}`, "t"},
	{"config", `{"records":[{"digest":"x:y","chains":[{"layers":@}]}]}`, ""}, {"config", `{"records":[{"digest":"x:y","chains":[{"createdAt":@}]}]}`, ""},
	{"records", `@`, ""},
	{"image", `@`, ""}, {"image", `{"rootfs":@}`, ""}, {"image", `{"rootfs":{"diff_ids":@}}`, ""}, {"image", `{"history":@}`, ""}, {"image", `{"os":@}`, ""},
	{"image", `{"history":[{"created":@}]}`, "t"}, {"image", `{"history":[{"created_by":@}]}`, ""}, {"image", `{"history":[{"empty_layer":@}]}`, ""},
	{"image", `{"moby.buildkit.cache.v0":@}`, "b"},
	{"marker", `@`, ""}, {"marker", `{"imageLayoutVersion":@}`, ""},
}

// Whole documents.
var documents = map[string][]string{
	"index": {
		``, ` `, "\n\t\r ", "\xef\xbb\xbf{}", `{}x`, `{} {}`, `{},`, "{}\x00", "{}\n", "\v{}", "\xa0{}", `{`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a" 1}`,
		`{a:1}`, `{'a':1}`, `[1,]`, `[,1]`, `[1 2]`, `[`, `]`, `nul`, `nulll`, `NULL`, `True`, `tru`, `falsee`, `NaN`, `Infinity`, `01`, `-`, `-01`, `+1`, `.5`, `1.`, `1.e1`, `1e`, `1e+`,
		`1E5`, `1e-5`, `0x10`, `1_000`, `{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e999}`, `{"a":-1E-1}`, `/* x */{}`, `{"a":1}// x`, `{"a":[{"b":[null,true,false,"x",-1.5e3]}]}`,
		`{"mediaType":"a","mediaType":"b"}`, `{"mediaType":"a","MediaType":"b"}`, `{"MEDIATYPE":"a","mediaType":"b"}`, `{"mediatype":"a"}`, `{"mediaType":"a","mediaType":null}`,
		`{"media\u0054ype":"a"}`, `{"mediaType ":"a"}`, `{"\u0000mediaType":"a"}`, "{\"manife\xc5\xbft\xc5\xbf\":[{\"dige\xc5\xbft\":\"x:y\",\"\xc5\xbfize\":7}]}", "{\"mediaTyp\xc3\xa9\":\"a\"}",
		`{"Manifests":[{"Digest":"x:y","SIZE":7,"mediatype":"m","Annotations":{"A":"1","a":"2"},"URLs":["u"]}]}`,
		`{"manifests":[{"digest":"x:y","annotations":{"a":"1","a":"2","b":"3"}}]}`, `{"manifests":[{"digest":"x:y","annotations":{"a":"1"},"annotations":{"b":"2"}}]}`,
		`{"manifests":[{"digest":"x:y","annotations":{"a":"1"},"Annotations":{"a":"2"}}]}`, `{"manifests":[{"digest":"x:y","annotations":{"a":"1"},"annotations":null}]}`,
		`{"manifests":[{"digest":"x:y","annotations":{"__proto__":"1","constructor":"2","toString":"3","":"4"}}]}`,
		`{"manifests":[{"digest":"x:y","size":1},{"digest":"x:z","size":2}],"manifests":[{"size":3}]}`, `{"manifests":[{"digest":"x:y","size":1}],"manifests":[]}`,
		`{"manifests":[{"digest":"x:y","size":1}],"manifests":null}`, `{"manifests":[{"digest":"x:y","size":1}],"Manifests":[{},{"digest":"x:z"}]}`,
		`{"manifests":[{"digest":"x:y","platform":{"os":"a"},"platform":{"variant":"b"}}]}`, `{"manifests":[{"digest":"x:y","size":1,"size":null}]}`, `{"manifests":[{"digest":"x:y","urls":["a","b"],"urls":["c"]}]}`,
		`{"__proto__":{"mediaType":"a"},"constructor":7,"toString":null,"mediaType":"b"}`, `{"manifests":[null,{"digest":"x:y"}]}`, `{"annotations":{"x":"1"},"annotations":{"y":7}}`,
		" { \"manifests\" : [ { \"digest\" : \"x:y\" , \"size\" : 7 } ] } ",
	},
	"manifest": {
		`{"config":{"digest":"x:y"}}`, `{"Config":{"DIGEST":"x:y"},"LAYERS":[{"Digest":"x:z"}]}`, `{"layers":[],"manifests":[]}`, `{"config":{"digest":"x:y"},"manifests":null}`,
		`{"config":{"digest":"x:y"},"Manifests":[]}`, `{"manifests":[]}`, `{"manifests":null}`, `{"mediaType":"application/vnd.oci.image.index.v1+json","config":{"digest":"x:y"}}`,
		`{"mediaType":"application/vnd.oci.image.index.v1+json"}`, `{"mediaType":"","manifests":[]}`, `{"mediaType":null,"manifests":[]}`, `{"mediaType":null,"config":{"digest":"x:y"}}`,
		`{"config":{"digest":"x:y","size":1},"config":{"size":2}}`, `{"config":{"digest":"x:y"},"layers":null}`,
	},
	"config": {
		`{"Layers":[{"Blob":"x:y","PARENT":-1}],"RECORDS":[{"Digest":"x:y","LAYERS":[{"Layer":0,"createdat":"2026-01-02T03:04:05Z"}],"Inputs":[[{"Link":0,"SELECTOR":"s"}]]}]}`,
		`{"records":[{"digest":"x:y","layers":[{"layer":1,"createdAt":"2026-01-02T03:04:05Z","createdAt":null}]}]}`, `{"records":[{"digest":"x:y","inputs":[null,[],[null]]}]}`,
		`{"records":[{"digest":"x:y","layers":[{"layer":1}],"layers":[{"createdAt":"2026-01-02T03:04:05Z"}]}]}`, "\xef\xbb\xbf{}", `{"layers":[{"blob":"x:y","annotations":{"size":1},"annotations":{"mediaType":"m"}}]}`,
		`{"records":[{"digest":"x:y","chains":[{"layers":[1,2,3]}],"chains":[{"layers":[4]}]}]}`, `{"layers":[{"blob":"x:y","parent":3,"parent":null}]}`,
	},
	"image": {
		`{"RootFS":{"DIFF_IDS":["x:y"]},"History":[{"Created":null,"Created_By":"a","EMPTY_LAYER":true}],"Moby.BuildKit.Cache.V0":"QQ=="}`,
		`{"history":[{"created":"2026-01-02T03:04:05Z","created":null}]}`, `{"config":7,"os":{},"architecture":[]}`,
	},
}

func write(kind string, text []byte) {
	latin := make([]rune, len(text))
	for i, b := range text {
		latin[i] = rune(b)
	}
	var row bytes.Buffer
	encoder := json.NewEncoder(&row)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode([]any{kind, string(latin), outcome(kind, text)}); err != nil {
		fmt.Fprintln(os.Stderr, kind, string(text), err)
		return
	}
	rows = append(rows, strings.TrimSpace(row.String()))
}

var rows []string

func main() {
	for _, place := range places {
		all := append([]string{}, values...)
		switch place.extra {
		case "s":
			all = append(all, strs...)
		case "b":
			all = append(all, encodings...)
		case "t":
			all = append(all, times...)
		}
		for _, value := range all {
			write(place.kind, []byte(strings.Replace(place.document, "@", value, 1)))
		}
	}
	kinds := []string{}
	for kind := range documents {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for _, kind := range kinds {
		for _, text := range documents[kind] {
			write(kind, []byte(text))
		}
	}
	fmt.Printf("[\n%s\n]\n", strings.Join(rows, ",\n"))
}
