package web

import (
	"net/http"
	"strings"
	"testing"
)

// A page of another site can make a browser send requests, but without a token: there
// is no cookie. And it may not read an answer, nor send what needs to be asked for.
func TestAPageOfAnotherSiteCanDoNothing(t *testing.T) {
	rig := newHandlersRig(t)
	for path, good := range goodBodies {
		asked := rig.request("", path, good)
		asked.Method = http.MethodOptions
		asked.Header.Set("Access-Control-Request-Method", http.MethodPost)
		asked.Header.Set("Access-Control-Request-Headers", "authorization, content-type")
		withCookie := rig.request("", path, good)
		withCookie.AddCookie(&http.Cookie{Name: "token", Value: rig.tokens[caller(path)]})
		withToken := rig.request(caller(path), path, good)
		for what, r := range map[string]*http.Request{"asked first": asked, "with a cookie": withCookie, "with a token": withToken} {
			r.Header.Set("Origin", "https://elsewhere.example")
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			response, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			for name := range response.Header {
				if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" {
					t.Errorf("%s, %s: the answer has the header %s", path, what, name)
				}
			}
			if what == "with a cookie" && response.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s, %s: %d", path, what, response.StatusCode)
			}
		}
	}
}
